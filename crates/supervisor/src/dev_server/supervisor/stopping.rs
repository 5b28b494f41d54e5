//! Stops: the dev server, a running install, and every process that they left behind.

use super::{State, Supervisor};
use crate::dev_server::OutputSource;
use crate::dev_server::running::{Running, hurried};
use crate::process::Stopped;

impl Supervisor {
    pub(super) async fn stop(&mut self) {
        if let Some(install) = &self.install {
            install.cancel.send_replace(true);
        }
        self.end_running("the agent stops").await;
        if let Some(mut install) = self.install.take() {
            tokio::select! {
                // Its result does not matter any more.
                _ = &mut install.task => {}
                // This drops the package manager's process, which kills it.
                () = hurried(&mut self.hurry) => install.task.abort(),
            }
        }
        self.end_strays().await;
        self.state = State::Stopped;
    }

    /// Stops a dev server that runs.
    pub(super) async fn end_running(&mut self, cause: &str) {
        if let Some((running, stopped)) = self.take_stopped().await {
            tracing::info!(pid = running.id(), cause, killed = stopped.killed, "dev server stopped");
        }
    }

    /// Stops what is left of the dev server, and takes it out of the state. [`Stopped::status`] is none where not even
    /// SIGKILL ended it in time.
    pub(super) async fn take_stopped(&mut self) -> Option<(Running, Stopped)> {
        let State::Running(mut running) = std::mem::replace(&mut self.state, State::Down) else { return None };
        let log = &self.shared.log;
        let line = |line| log.line(OutputSource::DevServer, line);
        let stopped = running.stop(self.config.grace, &mut self.hurry, line).await;
        self.end_strays().await;
        Some((*running, stopped))
    }

    /// Kills the processes that left their parents and came to the agent. While an install runs they may belong to it,
    /// and are killed when it has ended: no dev server is started before.
    pub(super) async fn end_strays(&mut self) {
        #[cfg(target_os = "linux")]
        if self.install.is_none() && !matches!(self.state, State::Running(_)) {
            crate::process::kill_strays(crate::process::KILL_WAIT).await;
        }
    }
}
