use std::time::Duration;

use sync_core::Saved;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::sync::state::StateFile;

/// How long changes are collected before the state is written.
const WRITE_DELAY: Duration = Duration::from_secs(1);

/// Writes the state file a moment after a change. The file may be older than the directory: a start compares it with
/// the directory and the database.
#[derive(Debug)]
pub(super) struct StateWriter {
    /// None where the state directory cannot be made.
    file: Option<StateFile>,
    due: Option<Instant>,
    writing: Option<JoinHandle<()>>,
}

impl StateWriter {
    pub(super) fn new(file: Option<StateFile>) -> StateWriter {
        StateWriter { file, due: None, writing: None }
    }

    /// The state has changed and is to be written soon.
    pub(super) fn changed(&mut self) {
        if self.file.is_some() {
            self.due.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
        }
    }

    /// Returns when the state is to be written. Cancel safe.
    pub(super) async fn due(&mut self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        if let Some(writing) = &mut self.writing {
            // A panic there has been reported by its own thread.
            let _ = writing.await;
            self.writing = None;
        }
    }

    /// Writes the state on another thread.
    pub(super) fn save(&mut self, saved: Option<Saved>) {
        self.due = None;
        if let (Some(file), Some(saved)) = (self.file.clone(), saved) {
            self.writing = Some(tokio::task::spawn_blocking(move || write(&file, &saved)));
        }
    }

    /// Writes what is due, and waits for it. To be called last.
    pub(super) async fn finish(&mut self, saved: impl FnOnce() -> Option<Saved>) {
        if self.due.take().is_some() {
            self.save(saved());
        }
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
    }
}

fn write(file: &StateFile, saved: &Saved) {
    if let Err(error) = file.save(saved) {
        warn!(event_type = "state_not_kept", %error, "cannot write the state: {error}");
    }
}
