//! Downloads a snapshot and extracts it while it arrives, into a directory beside the project.
//!
//! Nothing waits for the last byte. Bounded queues connect the download, a thread that inflates, and a thread that hashes
//! and writes. What was extracted counts only when the archive was read to its end and agrees with its central directory
//! and its manifest.

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

use crate::sync::file_modes::FolderModes;
use crate::sync::files::{ExtractDir, ExtractedFile};
use download::{Download, Fetched, Length};
use progress::ProgressCounter;
use supervisor::process::ProjectUser;

/// Where a snapshot is.
#[derive(Debug, Clone)]
pub enum SnapshotSource {
    /// A signed URL, `http` or `https`. It is a secret: it gives access to the project.
    Url(SecretString),
    /// A file on this machine.
    File(PathBuf),
}

/// A snapshot that was read to its end and verified.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// From the manifest; `None` without one.
    pub revision: Option<Revision>,
    /// From the manifest; `None` without one.
    pub snapshot_id: Option<String>,
    /// In the order of the archive, without the manifest. Empty directories are not extracted: the database has none.
    pub files: Vec<ExtractedFile>,
    /// Files of the archive that were not written because they are inside `node_modules`, `.git` or `.preview`. The
    /// manifest is not counted.
    pub skipped: u64,
    /// Size of the archive in bytes.
    pub compressed_bytes: u64,
    /// Size of `files` together, in bytes.
    pub expanded_bytes: u64,
    /// Requests made for it: 1 without a failure.
    pub attempts: u32,
    /// Time until its first byte. Extraction starts there.
    pub waited: Duration,
}

/// Extracts the snapshot at `source` into `stage`.
///
/// A download that breaks is resumed or started again. `report` is called every 100 ms, and once at the end. Dropping
/// the future stops everything; the blocking thread ends soon after. Then, and after an error, the content of `stage` is
/// not usable.
///
/// # Errors
/// See [`SnapshotError`]. No message contains the URL.
pub async fn hydrate(
    source: &SnapshotSource,
    project_id: &str,
    http: &reqwest::Client,
    stage: impl Into<ExtractDir>,
    limits: &Limits,
    report: impl Fn(Progress) + Send + 'static,
) -> Result<Extracted, SnapshotError> {
    let started = Instant::now();
    let progress = Arc::new(ProgressCounter::default());
    let _stop = progress.stop_on_drop();
    let ExtractDir { dir: stage, owner, modes } = stage.into();
    let job = Job { project_id, stage, owner, modes, limits, progress: progress.clone() };
    let mut work = pin!(async {
        match source {
            SnapshotSource::File(path) => job.file(path.clone()).await,
            SnapshotSource::Url(url) => job.url(Download::new(url, http, limits, progress.clone())?).await,
        }
    });
    let mut tick = tokio::time::interval(progress::REPORT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            _ = tick.tick() => report(progress.now()),
        }
    };
    report(progress.now());
    let waited = progress.first_byte().map_or(Duration::ZERO, |first| first.duration_since(started));
    result.map(|extracted| Extracted { waited, ..extracted })
}

struct Job<'a> {
    project_id: &'a str,
    stage: Dir,
    owner: Option<ProjectUser>,
    modes: Option<FolderModes>,
    limits: &'a Limits,
    progress: Arc<ProgressCounter>,
}

impl Job<'_> {
    async fn file(&self, path: PathBuf) -> Result<Extracted, SnapshotError> {
        let progress = self.progress.clone();
        self.extract(move || feed::file(&path, progress)).await
    }

    /// Each iteration is one extraction from the first byte on.
    async fn url(&self, mut download: Download<'_>) -> Result<Extracted, SnapshotError> {
        loop {
            let (sender, feed) = feed::channel(self.progress.clone());
            let (fetched, extracted) = tokio::join!(download.fetch(sender), self.extract(move || Ok(feed)));
            match (fetched, extracted) {
                // The archive knows its own end, so that a download that did not end does not matter.
                (_, Ok(extracted)) => return Ok(Extracted { attempts: download.attempts(), ..extracted }),
                (Ok(Fetched::StartOver), Err(SnapshotError::Stopped)) => {}
                (Ok(Fetched::Complete { length: Length::Unknown }), Err(error)) if error.is_truncated() => {
                    let reason = "the snapshot ended early, and the server had not announced its length";
                    download.pause(reason.into(), None).await?;
                }
                (Err(error), Err(SnapshotError::Stopped)) => return Err(error),
                (_, Err(error)) => return Err(error),
            }
            self.progress.start_over();
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
            modes: self.modes.clone(),
            project_id: self.project_id.to_owned(),
            limits: self.limits.archive,
            progress: self.progress.clone(),
        };
        match tokio::task::spawn_blocking(move || extraction.run(open()?)).await {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
