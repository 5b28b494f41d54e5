use std::time::Duration;

use super::FaultReason;
use crate::dependencies::InstallFailure;
pub use crate::process::Stream;

/// What happened to the dev server, for logs and metrics. [`super::DevServer::status`] is the state now.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields' names describe them")]
pub enum DevServerEvent {
    /// An install begins, with this package manager.
    InstallStarted { manager: &'static str },
    /// The package manager printed a line.
    InstallProgress { line: String },
    /// The dependencies are in place. `prepared`: a prepared tree was used, nothing was installed.
    InstallDone { duration: Duration, prepared: bool },
    /// The old tree stays, and so does the dev server that runs on it.
    InstallFailed { failure: InstallFailure, detail: String, duration: Duration },
    /// The dev server was started.
    Started { pid: u32, command: String },
    /// The first HTTP answer came, this long after the start.
    Ready { duration: Duration },
    /// The dev server ended by itself, or was ended because it hung.
    Exited { code: Option<i32>, signal: Option<i32>, reason: FaultReason, detail: String },
    /// It could not be started: no command was found, or the system refused to run it.
    StartFailed { reason: FaultReason, detail: String },
    /// It will be started again after `delay`. `attempt` counts within the restart window.
    RestartIn { reason: FaultReason, delay: Duration, attempt: u32 },
    /// Nothing more happens until a file changes.
    GaveUp { reason: FaultReason, detail: String },
    /// The dev server printed a line.
    Output { stream: Stream, line: String },
}
