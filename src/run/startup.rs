//! From the first state of the project to the start of the dev server.

use std::collections::BTreeSet;

use sync_core::{Hydration, Input, ProjectPath};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::cli::exit::Exit;
use crate::sync::workspace::WorkspaceError;
use crate::telemetry::status::{BootStep, Phase};
use sync_core::error_chain;

use super::RunLoop;
use super::hydrate::{self, FirstState, Hydrated};
use super::live::{Live, propagate_panic};

/// How far the start is.
pub(super) enum Startup {
    /// The first state is being fetched and put in place.
    Hydrating(JoinHandle<Result<Hydrated, Exit>>),
    /// There is no snapshot: the first state is being read from the database.
    ReadingDatabase,
    /// All of it was read; the last files may still be being written.
    WritingFiles,
    /// Every file is in place; what else lies in the directory is being moved to quarantine.
    Quarantining,
    /// The files are in place.
    FilesReady,
    /// The dev server was told to start.
    Complete,
}

impl Startup {
    /// The end of hydration; it comes once. Cancel safe.
    pub(super) async fn hydrated(&mut self) -> Result<Hydrated, Exit> {
        match self {
            Startup::Hydrating(task) => propagate_panic(task.await),
            _ => std::future::pending().await,
        }
    }
}

impl RunLoop {
    pub(super) fn handle_hydrated(&mut self, hydrated: Hydrated) {
        self.writer.start(hydrated.workspace);
        let (input, startup) = match hydrated.first_state {
            FirstState::Snapshot(hydration) => (Input::Hydrated(hydration), Startup::FilesReady),
            FirstState::Kept(restored) => (Input::Restored(restored), Startup::FilesReady),
            FirstState::Database => (Input::Hydrated(Hydration::default()), Startup::ReadingDatabase),
        };
        self.startup = startup;
        self.agent.handle(self.now(), input);
        self.state_writer.changed();
    }

    /// A catch-up has ended. Its files are not written yet.
    pub(super) fn handle_caught_up(&mut self) {
        if matches!(self.startup, Startup::ReadingDatabase) {
            self.startup = Startup::WritingFiles;
        }
    }

    /// Starts the dev server once the snapshot is in place or, without one, once the first state was read and written.
    /// To be called after every output was carried out, since a catch-up is reported before its files are written.
    /// True where it was started now.
    pub(super) fn start_dev_server_once_ready(&mut self) -> bool {
        let reading = self.live.as_ref().is_some_and(Live::is_reading);
        match self.startup {
            Startup::WritingFiles if !self.writer.is_busy() && !reading => {
                self.writer.quarantine_all_except(self.live_paths());
                self.startup = Startup::Quarantining;
                false
            }
            Startup::FilesReady => {
                self.startup = Startup::Complete;
                self.status.record_boot_step(BootStep::Hydrated);
                self.status.set_hydrated();
                self.status.set_phase(Phase::Installing);
                self.dev_server.files_ready();
                self.publish_phase();
                true
            }
            _ => false,
        }
    }

    /// What should lie in the project by the core's table.
    fn live_paths(&self) -> BTreeSet<ProjectPath> {
        let rows = self.agent.saved().map(|saved| saved.rows).unwrap_or_default();
        rows.iter().filter(|row| row.hash.is_some()).filter_map(|row| ProjectPath::parse(&row.path).ok()).collect()
    }

    /// Files that were in the directory before are in quarantine now.
    pub(super) fn handle_quarantined(&mut self, result: Result<usize, WorkspaceError>) {
        match result {
            Ok(files) => hydrate::report_quarantined(files),
            Err(error) => {
                let error = error_chain(&error);
                warn!(event_type = "found_failed", error, "files that are not in the database were not moved: {error}");
                self.status.record_error(error);
            }
        }
        self.startup = Startup::FilesReady;
    }
}
