//! Finds, starts, probes and restarts the dev server, and has its dependencies installed.

mod config;
mod event;

use std::sync::{Arc, Mutex};

use sync_core::ProjectPath;
use tokio::sync::{Notify, mpsc, watch};

pub use config::{Bind, Config, GRACE, Limits};
pub use event::{DevServerEvent, DevServerStatus, LastExit, LogLine, Reason, Source, StateName};

use crate::init::Init;

/// Events that wait to be read. Output is dropped (and counted in a line of its own) where they are not read.
pub const MAX_EVENTS: usize = 1024;

/// Speaks to the one task that owns the dev server.
#[derive(Debug, Clone)]
pub struct DevServer {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<DevServerStatus>,
    wake: Notify,
}

/// Starts the supervisor; the dev server itself starts after [`DevServer::files_ready`]. Needs a Tokio runtime.
/// Events never hold the supervisor up: those not read in time are lost, the status is not.
pub fn start(init: Init, config: Config) -> (DevServer, mpsc::Receiver<DevServerEvent>) {
    let _ = (init, config);
    let (_events, receiver) = mpsc::channel(MAX_EVENTS);
    let (_stop, stopped) = watch::channel(true);
    (DevServer { shared: Arc::default(), stopped }, receiver)
}

impl DevServer {
    /// These paths were just written or deleted.
    pub fn changed(&self, paths: Vec<ProjectPath>) {
        let _ = paths;
        self.shared.wake.notify_one();
    }

    /// The project's files are there: install what is missing, and start.
    pub fn files_ready(&self) {
        self.shared.wake.notify_one();
    }

    /// The state now.
    pub fn status(&self) -> DevServerStatus {
        self.shared.status.lock().expect("no panic while held").clone()
    }

    /// The last `tail` lines, oldest first.
    pub fn logs(&self, tail: usize) -> Vec<LogLine> {
        let _ = tail;
        Vec::new()
    }

    /// Stops the dev server and an install that runs, within the grace and [`crate::process::KILL_WAIT`]; returns once
    /// nothing of either is left.
    pub async fn stop(mut self) {
        // An error means that the task is gone, and the dev server with it.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }
}
