//! The first state of the project: the directory of an earlier run, a snapshot, or the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::{Backoff, HydratedFile, Hydration, RenewalError, Restored, Saved};
use tracing::{info, warn};

use crate::sync::database::{Renewer, SnapshotUrl};
use sync_core::error_chain;

use crate::cli::exit::Exit;
use crate::sync::files::ExtractedFile;
use crate::sync::jitter;
use crate::sync::snapshot::{self, Extracted, Limits, SnapshotError, SnapshotSource};
use crate::sync::state::StateFile;
use crate::sync::workspace::{Cancel, Workspace};
use crate::telemetry::progress::HydrationBar;
use crate::telemetry::status::{HydrationPart, HydrationProgress, SharedStatus};
use crate::telemetry::text::millis;
use supervisor::clock::unix_ms;

/// How often a new URL or a new snapshot is asked for.
const RENEWALS: u32 = 3;
/// Attempts at one renewal that fails for a passing reason.
const RENEWAL_ATTEMPTS: u32 = 5;
/// The shortest wait after an attempt, the upper bound of the first wait, which doubles, and the longest wait.
const RENEWAL_WAITS: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(8)];

/// Fetches the first state of the project and puts it in place.
pub(super) struct HydrationJob {
    pub(super) source: Option<SnapshotSource>,
    pub(super) project_id: String,
    pub(super) http: reqwest::Client,
    pub(super) workspace: Workspace,
    pub(super) renewer: Option<Arc<Renewer>>,
    pub(super) state: Option<StateFile>,
    pub(super) on_failure: SnapshotFailure,
    pub(super) status: SharedStatus,
}

/// What happens where the snapshot cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotFailure {
    /// Every file is read from the database.
    ReadDatabase,
    /// There is no database: the run ends.
    EndRun,
}

/// The end of hydration.
pub(super) struct Hydrated {
    pub(super) workspace: Workspace,
    pub(super) first_state: FirstState,
}

/// Where the first state comes from.
pub(super) enum FirstState {
    /// A snapshot that is in place.
    Snapshot(Hydration),
    /// A directory that an earlier run left: only the changes since then are read.
    Kept(Restored),
    /// There is no snapshot: every file is read from the database.
    Database,
}

impl HydrationJob {
    /// Puts the snapshot in place; or, where it cannot be had and the database can be read, starts empty at revision 0.
    ///
    /// # Errors
    /// The disk, or a snapshot that cannot be had without a database to read instead.
    pub(super) async fn run(mut self) -> Result<Hydrated, Exit> {
        let started = Instant::now();
        let kept;
        (self, kept) = self.kept().await;
        if let Some(restored) = kept {
            let (files, revision) = (restored.files.len(), restored.saved.revision);
            let duration_ms = millis(started.elapsed());
            info!(
                event_type = "hydrate_kept",
                duration_ms, files, revision, "using {files} files of an earlier run (revision {revision})"
            );
            return Ok(Hydrated { workspace: self.workspace, first_state: FirstState::Kept(restored) });
        }
        let Some(source) = self.source.take() else { return Ok(self.without_snapshot()) };
        info!(event_type = "hydrate_start", "loading the project from its snapshot");
        let extracted = match self.extract(source).await {
            Ok(extracted) => extracted,
            Err(error) if error.is_disk() => return Err(Exit::disk(error_chain(&error))),
            Err(error) if self.on_failure == SnapshotFailure::ReadDatabase => {
                let error = error_chain(&error);
                warn!(
                    event_type = "hydrate_fallback",
                    error, "cannot use the snapshot: {error}; reading every file from the database"
                );
                return Ok(self.without_snapshot());
            }
            Err(error) => return Err(Exit::unavailable(error_chain(&error))),
        };
        let (files, bytes, attempts) = (extracted.files.len(), extracted.expanded_bytes, extracted.attempts);
        let revision = extracted.revision;
        let (waited, unpacked) = (extracted.waited, started.elapsed());
        let hydrated = self.take_over(extracted).await?;
        let total = started.elapsed();
        let parts = [
            (HydrationPart::Wait, waited),
            (HydrationPart::Extract, unpacked.saturating_sub(waited)),
            (HydrationPart::Place, total.saturating_sub(unpacked)),
            (HydrationPart::Total, total),
        ];
        for (phase, took) in parts {
            metrics::histogram!("preview_agent_hydration_seconds", "phase" => phase.as_str()).record(took);
        }
        let [wait_ms, extract_ms, place_ms, duration_ms] = parts.map(|(_, took)| millis(took));
        info!(
            event_type = "hydrate_done",
            duration_ms,
            wait_ms,
            extract_ms,
            place_ms,
            files,
            bytes,
            revision,
            attempts,
            "project loaded: {files} files, {bytes} bytes in {duration_ms} ms"
        );
        Ok(hydrated)
    }

    fn without_snapshot(mut self) -> Hydrated {
        self.workspace.quarantine_replaced_files();
        Hydrated { workspace: self.workspace, first_state: FirstState::Database }
    }

    /// The directory and state of an earlier run, where the database can be read for the changes since then. Where more
    /// than half of the files are gone, the snapshot is faster.
    ///
    /// Another thread hashes the files: the project's own code may have made them large, and a signal must be answered
    /// meanwhile.
    async fn kept(self) -> (HydrationJob, Option<Restored>) {
        let Some(saved) = self.saved_state() else { return (self, None) };
        let live = saved.rows.iter().filter(|row| row.hash.is_some()).count();
        let cancel = Cancel::default();
        let _cancel_on_drop = cancel.on_drop();
        let mut job = self;
        let task = tokio::task::spawn_blocking(move || {
            let files = job.workspace.owned_files(&saved, &cancel);
            (job, Restored { saved, files })
        });
        let (job, restored) = match task.await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let are_enough = live > 0 && restored.files.len() >= live.div_ceil(2);
        (job, are_enough.then_some(restored))
    }

    fn saved_state(&self) -> Option<Saved> {
        let state = self.state.as_ref().filter(|_| self.on_failure == SnapshotFailure::ReadDatabase)?;
        state.load(&self.project_id).unwrap_or_else(|error| {
            let error = error_chain(&error);
            warn!(event_type = "state_refused", error, "ignoring the saved state, starting clean: {error}");
            None
        })
    }

    /// Where the URL has expired, a new one is asked for; where the snapshot keeps failing its checks, a new snapshot.
    async fn extract(&mut self, mut source: SnapshotSource) -> Result<Extracted, SnapshotError> {
        let mut renewals = 0;
        loop {
            let stage = self.workspace.extract_dir().map_err(SnapshotError::stage)?;
            let bar = HydrationBar::start();
            let (status, since_unix_ms) = (self.status.clone(), unix_ms());
            let progress = move |snapshot::Progress { bytes, total, files }| {
                bar.update(bytes, total, files);
                status.set_hydration_progress(HydrationProgress { since_unix_ms, bytes, total, files });
            };
            let limits = Limits::default();
            let result = snapshot::hydrate(&source, &self.project_id, &self.http, stage, &limits, progress).await;
            let error = match result {
                Ok(extracted) => return Ok(extracted),
                Err(error) if renewals < RENEWALS && (error.is_expired() || error.is_damaged()) => error,
                Err(error) => return Err(error),
            };
            renewals = renewals.saturating_add(1);
            match self.renewed_url(&error).await {
                Some(url) => source = SnapshotSource::Url(url),
                None => return Err(error),
            }
        }
    }

    async fn renewed_url(&self, error: &SnapshotError) -> Option<secrecy::SecretString> {
        let renewer = self.renewer.as_ref()?;
        let reason = error_chain(error);
        let [least, base, cap] = RENEWAL_WAITS;
        let (mut backoff, mut rng) = (Backoff::new(least, base, cap), jitter::generator());
        for attempt in 0..RENEWAL_ATTEMPTS {
            info!(event_type = "snapshot_renewal", reason, attempt, "asking for a new snapshot URL: {reason}");
            let snapshot = if error.is_damaged() { SnapshotUrl::Rebuilt } else { SnapshotUrl::Newest };
            match renewer.renew_snapshot(snapshot).await {
                Ok(renewed) => return renewed.snapshot_url,
                Err(RenewalError::Final(refusal)) => {
                    warn!(event_type = "renewal_refused", refusal, "no new snapshot URL: {refusal}");
                    return None;
                }
                Err(RenewalError::Retry(_)) => tokio::time::sleep(backoff.next(&mut rng)).await,
            }
        }
        None
    }

    async fn take_over(self, extracted: Extracted) -> Result<Hydrated, Exit> {
        let mut workspace = self.workspace;
        let task = tokio::task::spawn_blocking(move || {
            let takeover = workspace.take_over(&extracted.files);
            (workspace, extracted, takeover)
        });
        let (workspace, extracted, takeover) = match task.await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let takeover = takeover.map_err(|error| Exit::disk(error_chain(&error)))?;
        report_quarantined(takeover.quarantined);
        let file = |file: ExtractedFile| HydratedFile {
            path: file.path,
            version: file.version,
            hash: file.hash,
            size: file.size,
        };
        let hydration =
            Hydration { revision: extracted.revision, files: extracted.files.into_iter().map(file).collect() };
        Ok(Hydrated { workspace, first_state: FirstState::Snapshot(hydration) })
    }
}

/// Logs that files were moved to quarantine, where there were some.
pub(super) fn report_quarantined(files: usize) {
    if files > 0 {
        warn!(event_type = "found", files, "moved {files} files that are not in the database to the directory `found`");
    }
}
