use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::{HydratedFile, Hydration, RenewalError, Restored};
use tracing::{info, warn};

use crate::sync::database::{Renewer, SnapshotUrl};
use sync_core::error_chain;

use crate::cli::exit::Exit;
use crate::sync::files::ExtractedFile;
use crate::sync::snapshot::{self, Extracted, Limits, SnapshotError, SnapshotSource};
use crate::sync::state::StateFile;
use crate::sync::workspace::Workspace;
use crate::telemetry::progress;
use crate::telemetry::text::millis;

/// New URLs and rebuilds asked for before the snapshot is given up.
const RENEWALS: u32 = 3;
/// Attempts at one renewal that fails for a passing reason.
const RENEWAL_ATTEMPTS: u32 = 5;

/// The first state of the project, on its way.
pub(super) struct Hydrating {
    pub(super) source: Option<SnapshotSource>,
    pub(super) project_id: String,
    pub(super) http: reqwest::Client,
    pub(super) workspace: Workspace,
    pub(super) renewer: Option<Arc<Renewer>>,
    pub(super) state: Option<StateFile>,
    /// The database can be read where the snapshot cannot.
    pub(super) live: bool,
}

/// What there is to go on with.
pub(super) struct Hydrated {
    pub(super) workspace: Workspace,
    pub(super) first: First,
}

/// Where the first state comes from.
pub(super) enum First {
    /// A snapshot that is in place.
    Snapshot(Hydration),
    /// A directory that was kept: only the difference is asked for.
    Kept(Restored),
    /// The database, file by file.
    Database,
}

impl Hydrating {
    /// The snapshot in place; or, where that cannot be had and the database can be read, an empty start at revision 0.
    pub(super) async fn run(mut self) -> Result<Hydrated, Exit> {
        let started = Instant::now();
        if let Some(restored) = self.kept() {
            let (files, revision) = (restored.files.len(), restored.saved.revision);
            let duration_ms = millis(started.elapsed());
            info!(
                event_type = "hydrate_kept",
                duration_ms, files, revision, "{files} files were kept from revision {revision}"
            );
            return Ok(Hydrated { workspace: self.workspace, first: First::Kept(restored) });
        }
        let Some(source) = self.source.take() else { return Ok(self.without_snapshot()) };
        info!(event_type = "hydrate_start", "hydrating from the snapshot");
        let extracted = match self.extract(source).await {
            Ok(extracted) => extracted,
            Err(error) if error.is_disk() => return Err(Exit::disk(error_chain(&error))),
            Err(error) if self.live => {
                let error = error_chain(&error);
                warn!(
                    event_type = "hydrate_fallback",
                    error, "no snapshot ({error}): reading every file from the database"
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
            ("wait", waited),
            ("extract", unpacked.saturating_sub(waited)),
            ("place", total - unpacked),
            ("total", total),
        ];
        for (phase, took) in parts {
            metrics::histogram!("preview_agent_hydration_seconds", "phase" => phase).record(took);
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
            "hydrated: {files} files, {bytes} bytes in {duration_ms} ms"
        );
        Ok(hydrated)
    }

    fn without_snapshot(mut self) -> Hydrated {
        self.workspace.quarantine_replaced_files();
        Hydrated { workspace: self.workspace, first: First::Database }
    }

    /// The directory of an earlier agent with its state, where the database can say what has changed since. Where most
    /// of the files are gone, a snapshot is the shorter way.
    fn kept(&mut self) -> Option<Restored> {
        let state = self.state.as_ref().filter(|_| self.live)?;
        let saved = match state.load(&self.project_id) {
            Ok(saved) => saved?,
            Err(error) => {
                let error = error_chain(&error);
                warn!(event_type = "state_refused", error, "a fresh start: {error}");
                return None;
            }
        };
        let files = self.workspace.owned_files();
        let live = saved.rows.iter().filter(|row| row.hash.is_some()).count();
        (live > 0 && files.len() * 2 >= live).then_some(Restored { saved, files })
    }

    /// A URL that is no longer good is renewed; a snapshot that keeps failing its checks is built anew.
    async fn extract(&mut self, mut source: SnapshotSource) -> Result<Extracted, SnapshotError> {
        let mut renewals = 0;
        loop {
            let stage = self.workspace.hydration_dir().map_err(SnapshotError::stage)?;
            let shown = progress::Shown::start();
            let progress = move |now: snapshot::Progress| shown.update(now.bytes, now.total, now.files);
            let limits = Limits::default();
            let result = snapshot::hydrate(&source, &self.project_id, &self.http, stage, &limits, progress).await;
            let error = match result {
                Ok(extracted) => return Ok(extracted),
                Err(error) if renewals < RENEWALS && (error.is_expired() || error.is_damaged()) => error,
                Err(error) => return Err(error),
            };
            renewals += 1;
            match self.renewed_url(&error).await {
                Some(url) => source = SnapshotSource::Url(url),
                None => return Err(error),
            }
        }
    }

    async fn renewed_url(&self, error: &SnapshotError) -> Option<secrecy::SecretString> {
        let renewer = self.renewer.as_ref()?;
        let reason = error_chain(error);
        for attempt in 0..RENEWAL_ATTEMPTS {
            info!(event_type = "snapshot_renewal", reason, attempt, "asking for a new snapshot URL: {reason}");
            let snapshot = if error.is_damaged() { SnapshotUrl::Rebuilt } else { SnapshotUrl::Newest };
            match renewer.renew_snapshot(snapshot).await {
                Ok(renewed) => return renewed.snapshot_url,
                Err(RenewalError::Final(refusal)) => {
                    warn!(event_type = "renewal_refused", refusal, "no new snapshot URL: {refusal}");
                    return None;
                }
                Err(RenewalError::Retry(_)) => tokio::time::sleep(Duration::from_millis(500 << attempt)).await,
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
        Ok(Hydrated { workspace, first: First::Snapshot(hydration) })
    }
}

/// Says that files were put aside, where some were.
pub(super) fn report_quarantined(files: usize) {
    if files > 0 {
        warn!(event_type = "found", files, "{files} files that are not the database's were put aside in `found`");
    }
}
