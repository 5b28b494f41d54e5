//! Downloads a snapshot and extracts it while it arrives, into a directory beside the project.
//!
//! Nothing waits for the last byte: bounded queues lie between the download, a blocking thread that inflates, and one that
//! hashes and writes. Only when the archive was read to its end, and agrees with its central directory and its
//! manifest, does what was extracted count.

mod batch;
mod download;
mod error;
mod extract;
mod feed;
mod limits;
mod manifest_check;
mod progress;
mod staging;
mod tree;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use secrecy::SecretString;
use sync_core::Revision;

pub use error::{ManifestFault, SnapshotError};
pub use limits::Limits;
pub use progress::Progress;

use crate::sync::files::{ExtractDir, ExtractedFile};
use download::{Download, Fetched};
use progress::ProgressCounter;
use supervisor::process::ProjectUser;

/// Where a snapshot is.
#[derive(Debug, Clone)]
pub enum SnapshotSource {
    /// A signed URL, `http` or `https`: who has it has the project.
    Url(SecretString),
    /// A file on this machine.
    File(PathBuf),
}

/// A snapshot that was read to its end and found right.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// From the manifest; none without one.
    pub revision: Option<Revision>,
    /// From the manifest; none without one.
    pub snapshot_id: Option<String>,
    /// In the order of the archive. Directories without files are not extracted: the database knows none.
    pub files: Vec<ExtractedFile>,
    /// Files that the archive holds and that were not written: inside of `node_modules`, `.git` or `.preview`, the
    /// manifest aside.
    pub skipped: u64,
    /// Bytes of the archive.
    pub compressed_bytes: u64,
    /// Bytes of its files.
    pub expanded_bytes: u64,
    /// Requests made for it; 1 if all went well.
    pub attempts: u32,
    /// Until its first byte came. Extraction goes on from there.
    pub waited: Duration,
}

/// Extracts the snapshot at `source` into `stage`.
///
/// A broken download resumes or begins anew inside of this. `progress` hears of it every 100 ms, and once at the end.
/// Dropping the future stops everything; the blocking thread ends soon after. Then, and after an error, what lies in
/// `stage` is of no use.
///
/// # Errors
/// See [`SnapshotError`]. The URL stands in none of them.
pub async fn hydrate(
    source: &SnapshotSource,
    project_id: &str,
    http: &reqwest::Client,
    stage: impl Into<ExtractDir>,
    limits: &Limits,
    progress: impl Fn(Progress) + Send + 'static,
) -> Result<Extracted, SnapshotError> {
    let started = Instant::now();
    let meter = Arc::new(ProgressCounter::default());
    let _stop = meter.stop_on_drop();
    let ExtractDir { dir: stage, owner } = stage.into();
    let job = Job { project_id, stage, owner, limits, meter: meter.clone() };
    let mut work = pin!(async {
        match source {
            SnapshotSource::File(path) => job.file(path.clone()).await,
            SnapshotSource::Url(url) => job.url(Download::new(url, http, limits, meter.clone())?).await,
        }
    });
    let mut tick = tokio::time::interval(progress::REPORT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            _ = tick.tick() => progress(meter.now()),
        }
    };
    progress(meter.now());
    let waited = meter.first_byte().map_or(Duration::ZERO, |first| first.duration_since(started));
    result.map(|extracted| Extracted { waited, ..extracted })
}

struct Job<'a> {
    project_id: &'a str,
    stage: Dir,
    owner: Option<ProjectUser>,
    limits: &'a Limits,
    meter: Arc<ProgressCounter>,
}

impl Job<'_> {
    async fn file(&self, path: PathBuf) -> Result<Extracted, SnapshotError> {
        let meter = self.meter.clone();
        self.extract(move || feed::file(&path, meter)).await
    }

    /// Each round is one extraction from the first byte on.
    async fn url(&self, mut download: Download<'_>) -> Result<Extracted, SnapshotError> {
        loop {
            let (sender, feed) = feed::channel(self.meter.clone());
            let (fetched, extracted) = tokio::join!(download.fetch(sender), self.extract(move || Ok(feed)));
            match (fetched, extracted) {
                // The archive has an end of its own: a download may say less than it, but not more.
                (_, Ok(extracted)) => return Ok(Extracted { attempts: download.attempts(), ..extracted }),
                (Ok(Fetched::StartOver), Err(SnapshotError::Stopped)) => {}
                (Ok(Fetched::Whole { length_known: false }), Err(error)) if error.is_truncated() => {
                    download
                        .pause("the snapshot ended early, and the server had not said how long it is".into())
                        .await?;
                }
                (Err(error), Err(SnapshotError::Stopped)) => return Err(error),
                (_, Err(error)) => return Err(error),
            }
            self.meter.start_over();
            tree::clear(&self.stage).map_err(SnapshotError::stage)?;
        }
    }

    async fn extract<R: std::io::BufRead>(
        &self,
        open: impl FnOnce() -> Result<R, SnapshotError> + Send + 'static,
    ) -> Result<Extracted, SnapshotError> {
        let stage = self.stage.try_clone().map_err(SnapshotError::stage)?;
        let extraction = extract::Extraction {
            stage,
            owner: self.owner.clone(),
            project_id: self.project_id.to_owned(),
            limits: self.limits.archive,
            meter: self.meter.clone(),
        };
        match tokio::task::spawn_blocking(move || extraction.run(open()?)).await {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
