//! From the first state of the project to the start of the dev server.

use std::collections::BTreeSet;

use sync_core::{Hydration, Input, ProjectPath, Time};
use tracing::warn;

use crate::sync::workspace::WorkspaceError;
use crate::telemetry::status::Phase;
use sync_core::error_chain;

use super::Running;
use super::hydrate::{self, First, Hydrated};

/// How far the first state of the project is.
pub(super) enum FirstState {
    Awaited,
    /// It comes from the database.
    Read {
        caught_up: bool,
    },
    /// It came from the database; what else lies there is being put aside.
    PuttingAside,
    /// It is there.
    Placed,
}

impl Running {
    pub(super) fn hydrated(&mut self, hydrated: Hydrated) {
        self.writer.start(hydrated.workspace);
        let (input, first_state) = match hydrated.first {
            First::Snapshot(hydration) => (Input::Hydrated(hydration), FirstState::Placed),
            First::Kept(restored) => (Input::Restored(restored), FirstState::Placed),
            First::Database => (Input::Hydrated(Hydration::default()), FirstState::Read { caught_up: false }),
        };
        self.first_state = first_state;
        self.agent.handle(Time(self.started.elapsed()), input);
        self.keeper.changed();
    }

    /// The dev server starts once the snapshot is in place, or, without one, once the first state was read and written.
    /// To be asked when every output is carried out: a catch-up is told of before its files are written.
    pub(super) fn start_dev_server_once_ready(&mut self) -> bool {
        let there = match self.first_state {
            FirstState::Read { caught_up: true } if !self.writer.busy() && self.reads.is_empty() => {
                self.writer.quarantine_all_except(self.live_paths());
                self.first_state = FirstState::PuttingAside;
                false
            }
            FirstState::Awaited | FirstState::Read { .. } | FirstState::PuttingAside => false,
            FirstState::Placed => true,
        };
        if !there || self.files_ready {
            return false;
        }
        self.files_ready = true;
        self.board.mark("hydrated");
        self.board.set_hydrated();
        self.board.set_phase(Phase::Installing);
        self.dev_server.files_ready();
        self.publish_phase();
        true
    }

    /// What the table says should lie in the project.
    fn live_paths(&self) -> BTreeSet<ProjectPath> {
        let rows = self.agent.saved().map(|saved| saved.rows).unwrap_or_default();
        rows.iter().filter(|row| row.hash.is_some()).filter_map(|row| ProjectPath::parse(&row.path).ok()).collect()
    }

    /// The first state is in place, and what was there before it is not in its way.
    pub(super) fn put_aside(&mut self, result: Result<usize, WorkspaceError>) {
        match result {
            Ok(files) => hydrate::report_quarantined(files),
            Err(error) => {
                let error = error_chain(&error);
                warn!(event_type = "found_failed", error, "what is not the database's stays: {error}");
                self.board.error(error);
            }
        }
        self.first_state = FirstState::Placed;
    }
}
