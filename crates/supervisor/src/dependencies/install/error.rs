use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dependencies::prepared::PreparedError;
use crate::directory::ReadError;

/// Why an install failed, as a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstallFailure {
    /// The package manager itself is not installed.
    ManagerMissing,
    /// A package, or a version of it, does not exist.
    PackageNotFound,
    /// The versions that package.json asks for do not work together.
    VersionConflict,
    /// package.json is not valid.
    BadPackageJson,
    /// The lock file does not match package.json, or is damaged.
    LockFile,
    /// A package refuses this version of Node.
    EngineUnsupported,
    /// package.json asks for a package in a way that the manager does not know, for example `workspace:` with npm.
    UnsupportedSpecifier,
    /// A script of a package calls a program that is not installed.
    ToolMissing,
    /// pnpm did not run the install scripts of packages that the project does not list.
    BuildsIgnored,
    /// A host that packages are downloaded from cannot be reached.
    HostUnreachable,
    /// An install script of a package or of the project failed.
    ScriptFailed,
    /// The package manager failed for another reason.
    Failed,
    /// It took too long.
    Deadline,
    /// The agent stopped it.
    Cancelled,
    /// A file could not be read or written.
    Disk,
}

impl InstallFailure {
    /// All failures.
    pub const ALL: [InstallFailure; 15] = [
        InstallFailure::ManagerMissing,
        InstallFailure::PackageNotFound,
        InstallFailure::VersionConflict,
        InstallFailure::BadPackageJson,
        InstallFailure::LockFile,
        InstallFailure::EngineUnsupported,
        InstallFailure::UnsupportedSpecifier,
        InstallFailure::ToolMissing,
        InstallFailure::BuildsIgnored,
        InstallFailure::HostUnreachable,
        InstallFailure::ScriptFailed,
        InstallFailure::Failed,
        InstallFailure::Deadline,
        InstallFailure::Cancelled,
        InstallFailure::Disk,
    ];

    /// The code in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            InstallFailure::ManagerMissing => "manager_missing",
            InstallFailure::PackageNotFound => "package_not_found",
            InstallFailure::VersionConflict => "version_conflict",
            InstallFailure::BadPackageJson => "bad_package_json",
            InstallFailure::LockFile => "lock_file",
            InstallFailure::EngineUnsupported => "engine_unsupported",
            InstallFailure::UnsupportedSpecifier => "unsupported_specifier",
            InstallFailure::ToolMissing => "tool_missing",
            InstallFailure::BuildsIgnored => "builds_ignored",
            InstallFailure::HostUnreachable => "host_unreachable",
            InstallFailure::ScriptFailed => "script_failed",
            InstallFailure::Failed => "failed",
            InstallFailure::Deadline => "deadline",
            InstallFailure::Cancelled => "cancelled",
            InstallFailure::Disk => "disk",
        }
    }

    /// Whether another try without an edit would fail in the same way.
    pub fn needs_edit(self) -> bool {
        matches!(
            self,
            InstallFailure::ManagerMissing
                | InstallFailure::PackageNotFound
                | InstallFailure::VersionConflict
                | InstallFailure::BadPackageJson
                | InstallFailure::LockFile
                | InstallFailure::EngineUnsupported
                | InstallFailure::UnsupportedSpecifier
                | InstallFailure::ToolMissing
        )
    }
}

/// Why dependencies are not installed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum InstallError {
    #[error("{manager} is not installed ({asked_for_by} asks for it); install {manager}")]
    ManagerMissing { manager: &'static str, asked_for_by: &'static str },
    #[error("npm is not installed; install npm")]
    NpmMissing,
    #[error("cannot start {manager}")]
    Spawn { manager: &'static str, source: io::Error },
    #[error("{manager} {status}: {detail}")]
    Failed { manager: &'static str, failure: InstallFailure, status: String, detail: String },
    #[error("{manager} took longer than {} s and was stopped", .deadline.as_secs())]
    Deadline { manager: &'static str, deadline: Duration },
    #[error("the install was stopped")]
    Cancelled,
    #[error("the install's task failed")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Prepared(#[from] PreparedError),
    #[error("cannot {operation} {}", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl InstallError {
    /// The failure as a code.
    pub fn failure(&self) -> InstallFailure {
        match self {
            InstallError::ManagerMissing { .. } | InstallError::NpmMissing => InstallFailure::ManagerMissing,
            InstallError::Failed { failure, .. } => *failure,
            InstallError::Deadline { .. } => InstallFailure::Deadline,
            InstallError::Cancelled => InstallFailure::Cancelled,
            InstallError::Spawn { .. } | InstallError::Task(_) => InstallFailure::Failed,
            InstallError::Read(_) | InstallError::Prepared(_) | InstallError::Io { .. } => InstallFailure::Disk,
        }
    }
}

/// Makes an [`InstallError::Io`] of an I/O error.
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    move |source| InstallError::Io { operation, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        for failure in InstallFailure::ALL {
            let same = InstallFailure::ALL.iter().filter(|other| other.as_str() == failure.as_str());
            assert_eq!(same.count(), 1, "{failure:?}");
        }
    }
}
