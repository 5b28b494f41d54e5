use std::fmt;

use serde::{Serialize, Serializer};

/// Why the dev server does not run, or what is wrong although it runs. The code is used in the status, in metrics and in
/// log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultReason {
    /// Another program listens on the dev server's port.
    PortInUse,
    /// package.json or the dev server's configuration cannot be used.
    ConfigError,
    /// A program or a package that the dev server needs is not installed.
    DependencyMissing,
    /// It ended with an error that no other reason describes.
    Crashed,
    /// The kernel killed it because memory ran out.
    OomKilled,
    /// It does not answer HTTP requests.
    Hung,
    /// It ended by itself with status 0.
    Exited,
    /// The package manager failed.
    InstallFailed,
}

impl FaultReason {
    /// All reasons.
    pub const ALL: [FaultReason; 8] = [
        FaultReason::PortInUse,
        FaultReason::ConfigError,
        FaultReason::DependencyMissing,
        FaultReason::Crashed,
        FaultReason::OomKilled,
        FaultReason::Hung,
        FaultReason::Exited,
        FaultReason::InstallFailed,
    ];

    /// What to do about it, in one sentence without a full stop; `docs/operations.md` has the same text.
    pub fn advice(self) -> &'static str {
        match self {
            FaultReason::PortInUse => {
                "stop that process, or choose another port with `PREVIEW_PORT` or `DEV_SERVER_PORT`"
            }
            FaultReason::ConfigError => "fix the project's configuration; the next edit of it is tried at once",
            FaultReason::DependencyMissing => "add it to the project's `package.json`",
            FaultReason::InstallFailed => "`/logs` has its last lines; look at the registry and the lock file",
            FaultReason::Crashed => "look at `/logs`; it is restarted with backoff",
            FaultReason::OomKilled => "give the machine more memory",
            FaultReason::Hung => "look at `/logs`; often an endless loop in a plugin",
            FaultReason::Exited => "check its command: it may not be a server",
        }
    }

    /// The code in the status, in metrics and in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultReason::PortInUse => "port_in_use",
            FaultReason::ConfigError => "config_error",
            FaultReason::DependencyMissing => "dependency_missing",
            FaultReason::Crashed => "crashed",
            FaultReason::OomKilled => "oom_killed",
            FaultReason::Hung => "hung",
            FaultReason::Exited => "exited",
            FaultReason::InstallFailed => "install_failed",
        }
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FaultReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
