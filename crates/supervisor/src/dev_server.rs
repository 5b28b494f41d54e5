//! Finds, starts, probes and restarts the dev server, and installs its dependencies.
//!
//! [`DevServer`] is a handle. One task, the supervisor, owns the state.

mod app_dir;
mod change_effect;
mod config;
mod delegation;
mod diagnosis;
mod event;
mod fault;
mod oom_kills;
mod output_log;
mod plan;
mod probe;
mod restart_budget;
mod running;
#[cfg(target_os = "linux")]
mod sockets;
mod status;
mod supervisor;
pub mod tls;
mod upstream;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sync_core::ProjectPath;
use tokio::sync::{Notify, mpsc, watch};

pub use config::{Bind, Config, GRACE, Limits, Placement};
pub use event::DevServerEvent;
pub use fault::FaultReason;
pub use output_log::{LogLine, OutputSource};
pub use plan::PlanError;
pub use status::{DevServerState, DevServerStatus, LastExit};
pub use upstream::{RootAnswer, Scheme, Upstream};

use crate::init::Init;
use change_effect::{ChangeEffects, change_effect};
use output_log::OutputLog;
use plan::ServerKind;
use supervisor::Supervisor;

/// Events that wait to be read. When fewer than [`output_log::RESERVED`] places are free, lines of output are dropped;
/// [`DevServer::logs`] still has them.
pub const MAX_EVENTS: usize = 1024;

/// A handle to the one task that owns the dev server.
#[derive(Debug, Clone)]
pub struct DevServer {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

/// State that the handles and the supervisor share.
#[derive(Debug)]
struct Shared {
    status: watch::Sender<DevServerStatus>,
    requests: Mutex<PendingRequests>,
    scope: Mutex<Scope>,
    wake: Notify,
    hurry: watch::Sender<bool>,
    log: OutputLog,
}

/// What was requested since the supervisor last looked.
#[derive(Debug, Default)]
struct PendingRequests {
    files_ready: bool,
    edit: Option<ChangeEffects>,
    stop: bool,
}

/// What [`change_effect()`] needs to know about the running app.
#[derive(Debug, Default)]
struct Scope {
    /// Relative to the project; none where it is not known yet.
    app_dir: Option<PathBuf>,
    kind: ServerKind,
}

/// Starts the supervisor. The dev server itself starts after [`DevServer::files_ready`]. Needs a Tokio runtime.
/// A slow reader of the events never delays the supervisor: events that are not read in time are lost, the status is not.
pub fn start(init: Init, config: Config) -> (DevServer, mpsc::Receiver<DevServerEvent>) {
    let (events, receiver) = mpsc::channel(MAX_EVENTS);
    let shared = Arc::new(Shared {
        status: watch::Sender::default(),
        requests: Mutex::default(),
        scope: Mutex::default(),
        wake: Notify::new(),
        hurry: watch::Sender::new(false),
        log: OutputLog::new(events),
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
        let effects = paths.iter().map(|path| change_effect(path, scope.app_dir.as_deref(), scope.kind));
        let effects = effects.fold(ChangeEffects::default(), ChangeEffects::with);
        drop(scope);
        self.request(|pending| pending.edit = Some(pending.edit.unwrap_or_default().merged(effects)));
    }

    /// The project's files are on disk: install what is missing, and start.
    pub fn files_ready(&self) {
        self.request(|pending| pending.files_ready = true);
    }

    /// The state now.
    pub fn status(&self) -> DevServerStatus {
        self.shared.status.borrow().clone()
    }

    /// The state now, and each change of it.
    pub fn watch(&self) -> watch::Receiver<DevServerStatus> {
        self.shared.status.subscribe()
    }

    /// The last `tail` lines of output, oldest first. About a thousand are kept.
    pub fn logs(&self, tail: usize) -> Vec<LogLine> {
        self.shared.log.tail(tail)
    }

    /// From now on there is no grace period: SIGKILL follows SIGTERM at once.
    pub fn hurry(&self) {
        self.shared.hurry.send_replace(true);
    }

    /// Stops the dev server and a running install, within the grace period and [`crate::process::KILL_WAIT`]. Returns
    /// when no process of either is left.
    pub async fn stop(mut self) {
        self.request(|pending| pending.stop = true);
        // An error means that the task has ended, and the dev server with it.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    fn request(&self, change: impl FnOnce(&mut PendingRequests)) {
        change(&mut self.shared.requests.lock().expect("no panic while held"));
        self.shared.wake.notify_one();
    }
}
