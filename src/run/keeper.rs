use std::time::Duration;

use sync_core::Saved;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::sync::state::StateFile;

/// How long changes gather before the state is written.
const GATHER: Duration = Duration::from_secs(1);

/// Keeps the state file near the truth. It need not be exact: a start compares it with the directory and the database.
#[derive(Debug)]
pub(super) struct Keeper {
    file: Option<StateFile>,
    due: Option<Instant>,
    writing: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn new(file: Option<StateFile>) -> Keeper {
        Keeper { file, due: None, writing: None }
    }

    /// Something changed that a later start should know.
    pub(super) fn changed(&mut self) {
        if self.file.is_some() {
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    /// Returns when the state is to be written. Cancel safe.
    pub(super) async fn due(&mut self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        if let Some(writing) = &mut self.writing {
            // A panic there has said so itself.
            let _ = writing.await;
            self.writing = None;
        }
    }

    /// Writes it on a thread of its own.
    pub(super) fn save(&mut self, saved: Option<Saved>) {
        self.due = None;
        if let (Some(file), Some(saved)) = (self.file.clone(), saved) {
            self.writing = Some(tokio::task::spawn_blocking(move || write(&file, &saved)));
        }
    }

    /// Writes what is due now; to be called last.
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
        warn!(event_type = "state_not_kept", %error, "the state cannot be written: {error}");
    }
}
