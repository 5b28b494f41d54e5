use std::time::Duration;

use serde::Serialize;

use super::upstream::Upstream;

pub use crate::process::Stream;

/// What happened to the dev server, for logs and metrics. The truth about now is [`super::DevServer::status`].
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum DevServerEvent {
    InstallStarted {
        manager: &'static str,
    },
    InstallProgress {
        line: String,
    },
    /// `prepared`: a tree from the prepared directory was taken, nothing was installed.
    InstallDone {
        duration: Duration,
        prepared: bool,
    },
    /// The old tree stays, and so does the dev server that runs on it.
    InstallFailed {
        reason: String,
        duration: Duration,
    },
    Started {
        pid: u32,
        command: String,
    },
    /// The first HTTP answer came, this long after the spawn.
    Ready {
        duration: Duration,
    },
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
        reason: Reason,
        detail: String,
    },
    /// It could not even be started (or its plan could not be made): `reason` and `detail` say why.
    StartFailed {
        reason: Reason,
        detail: String,
    },
    RestartIn {
        reason: Reason,
        delay: Duration,
        attempt: u32,
    },
    /// The restart budget is spent: nothing more happens until the next edit.
    GaveUp {
        reason: Reason,
        detail: String,
    },
    Output {
        stream: Stream,
        line: String,
    },
}

/// Why the dev server does not run, as a code for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Reason {
    PortInUse,
    ConfigError,
    DependencyMissing,
    Crashed,
    OomKilled,
    Hung,
    Exited,
    /// The package manager failed and there is no tree to run on.
    InstallFailed,
}

impl Reason {
    /// Every one of them.
    pub const ALL: [Reason; 8] = [
        Reason::PortInUse,
        Reason::ConfigError,
        Reason::DependencyMissing,
        Reason::Crashed,
        Reason::OomKilled,
        Reason::Hung,
        Reason::Exited,
        Reason::InstallFailed,
    ];

    /// What to do about it, in one sentence without a full stop; `docs/operations.md` has the same.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::PortInUse => "stop that process, or choose another port with `PREVIEW_PORT` or `DEV_SERVER_PORT`",
            Reason::ConfigError => "fix the project's configuration; the next edit of it is tried at once",
            Reason::DependencyMissing => "add it to the project's `package.json`",
            Reason::InstallFailed => "`/logs` has its last lines; look at the registry and the lock file",
            Reason::Crashed => "look at `/logs`; it is restarted with backoff",
            Reason::OomKilled => "give the machine more memory",
            Reason::Hung => "look at `/logs`; often an endless loop in a plugin",
            Reason::Exited => "check its command: it may not be a server",
        }
    }

    /// The code itself.
    pub fn code(self) -> &'static str {
        match self {
            Reason::PortInUse => "port_in_use",
            Reason::ConfigError => "config_error",
            Reason::DependencyMissing => "dependency_missing",
            Reason::Crashed => "crashed",
            Reason::OomKilled => "oom_killed",
            Reason::Hung => "hung",
            Reason::Exited => "exited",
            Reason::InstallFailed => "install_failed",
        }
    }
}

/// Where the dev server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StateName {
    /// The files are not there yet.
    #[default]
    Waiting,
    /// The package manager runs, and no dev server beside it.
    Installing,
    /// Spawned, no HTTP answer yet.
    Starting,
    /// It answers.
    Serving,
    /// It ended and will be started again.
    Restarting,
    /// The budget is spent; the next edit tries again.
    GaveUp,
    Stopped,
}

impl StateName {
    /// As it stands in the status.
    pub fn code(self) -> &'static str {
        match self {
            StateName::Waiting => "waiting",
            StateName::Installing => "installing",
            StateName::Starting => "starting",
            StateName::Serving => "serving",
            StateName::Restarting => "restarting",
            StateName::GaveUp => "gave_up",
            StateName::Stopped => "stopped",
        }
    }
}

/// A snapshot of the supervisor's state, cheap to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DevServerStatus {
    /// Where it is.
    pub state: StateName,
    /// Of the running dev server.
    pub pid: Option<u32>,
    /// Where it answers, once it has answered.
    pub upstream: Option<Upstream>,
    /// Starts after the first.
    pub restarts: u64,
    /// The package manager runs, be it beside a serving dev server.
    pub installing: bool,
    /// How the last one ended.
    pub last_exit: Option<LastExit>,
    /// Why it does not serve, or what is wrong although it does (a failed install, a broken config).
    pub reason: Option<Reason>,
    /// The reason in words.
    pub detail: Option<String>,
    /// What is run.
    pub command: Option<String>,
    /// Since when it is in this state, Unix milliseconds.
    pub since_unix_ms: u64,
    /// Hydrated files to spawn, of the first start, less the install.
    pub first_start_ms: Option<u64>,
}

/// The end of a dev server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct LastExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub reason: Reason,
    pub detail: String,
    pub at_unix_ms: u64,
}

/// One kept line of the dev server or the package manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Unix milliseconds.
    pub at_unix_ms: u64,
    /// Which process printed it.
    pub source: Source,
    /// Where it was printed.
    pub stream: Stream,
    /// Without the newline, cut at [`crate::process::MAX_LINE`].
    pub line: String,
}

/// Who prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Source {
    DevServer,
    Install,
}
