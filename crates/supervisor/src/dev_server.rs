//! Finds, starts, probes and restarts the dev server, and has its dependencies installed.
//!
//! [`DevServer`] is a handle; one task, the supervisor, owns the state.

mod actions;
mod budget;
mod config;
mod diagnosis;
mod event;
mod journal;
mod oom;
mod plan;
mod probe;
mod project;
mod running;
#[cfg(target_os = "linux")]
mod sockets;
mod supervisor;
pub mod tls;
mod upstream;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sync_core::ProjectPath;
use tokio::sync::{Notify, mpsc, watch};

pub use config::{Bind, Config, GRACE, Limits, Placement};
pub use event::{DevServerEvent, DevServerStatus, LastExit, LogLine, Reason, Source, StateName};
pub use plan::PlanError;
pub use upstream::{RootAnswer, Scheme, Upstream};

use crate::init::Init;
use actions::{Work, action};
use journal::Journal;
use supervisor::Supervisor;

/// Events that wait to be read. Beyond it lines of output are dropped first; they are kept for [`DevServer::logs`].
pub const MAX_EVENTS: usize = 1024;

/// Speaks to the one task that owns the dev server.
#[derive(Debug, Clone)]
pub struct DevServer {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

/// What handle and supervisor have in common.
#[derive(Debug)]
struct Shared {
    status: watch::Sender<DevServerStatus>,
    asked: Mutex<Asked>,
    scope: Mutex<Scope>,
    wake: Notify,
    hurry: watch::Sender<bool>,
    journal: Journal,
}

/// What was asked for since the supervisor last looked.
#[derive(Debug, Default)]
struct Asked {
    files_ready: bool,
    edit: Option<Work>,
    stop: bool,
}

/// What the action table has to know.
#[derive(Debug, Default)]
struct Scope {
    /// Relative to the project.
    app_dir: Option<PathBuf>,
    vite: bool,
}

/// Starts the supervisor; the dev server itself starts after [`DevServer::files_ready`]. Needs a Tokio runtime.
/// Events never hold the supervisor up: those not read in time are lost, the status is not.
pub fn start(init: Init, config: Config) -> (DevServer, mpsc::Receiver<DevServerEvent>) {
    let (events, receiver) = mpsc::channel(MAX_EVENTS);
    let shared = Arc::new(Shared {
        status: watch::Sender::default(),
        asked: Mutex::default(),
        scope: Mutex::default(),
        wake: Notify::new(),
        hurry: watch::Sender::new(false),
        journal: Journal::new(events),
    });
    let (stop, stopped) = watch::channel(false);
    let supervisor = Supervisor::new(init, config, shared.clone());
    tokio::spawn(async move {
        supervisor.run().await;
        stop.send_replace(true);
    });
    (DevServer { shared, stopped }, receiver)
}

impl DevServer {
    /// These paths were just written or deleted.
    pub fn changed(&self, paths: Vec<ProjectPath>) {
        let scope = self.shared.scope.lock().expect("no panic while held");
        let actions = paths.iter().map(|path| action(path, scope.app_dir.as_deref(), scope.vite));
        let work = actions.fold(Work::default(), Work::add);
        drop(scope);
        self.ask(|all| all.edit = Some(all.edit.unwrap_or_default().and(work)));
    }

    /// The project's files are there: install what is missing, and start.
    pub fn files_ready(&self) {
        self.ask(|all| all.files_ready = true);
    }

    /// The state now.
    pub fn status(&self) -> DevServerStatus {
        self.shared.status.borrow().clone()
    }

    /// The state now, and each change of it.
    pub fn watch(&self) -> watch::Receiver<DevServerStatus> {
        self.shared.status.subscribe()
    }

    /// The last `tail` lines, oldest first; at most about a thousand are kept.
    pub fn logs(&self, tail: usize) -> Vec<LogLine> {
        self.shared.journal.tail(tail)
    }

    /// From now on nothing is given any grace: SIGTERM is followed by SIGKILL at once.
    pub fn hurry(&self) {
        self.shared.hurry.send_replace(true);
    }

    /// Stops the dev server and an install that runs, within the grace and [`crate::process::KILL_WAIT`]; returns once
    /// nothing of either is left.
    pub async fn stop(mut self) {
        self.ask(|all| all.stop = true);
        // An error means that the task is gone, and the dev server with it.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    fn ask(&self, change: impl FnOnce(&mut Asked)) {
        change(&mut self.shared.asked.lock().expect("no panic while held"));
        self.shared.wake.notify_one();
    }
}
