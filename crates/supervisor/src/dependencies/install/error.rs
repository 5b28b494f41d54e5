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
    pub const ALL: [InstallFailure; 8] = [
        InstallFailure::ManagerMissing,
        InstallFailure::PackageNotFound,
        InstallFailure::VersionConflict,
        InstallFailure::BadPackageJson,
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
        )
    }

    /// What the package managers print for failures that they name.
    pub(super) fn of_output(text: &str) -> InstallFailure {
        const CODES: [(&str, InstallFailure); 6] = [
            ("E404", InstallFailure::PackageNotFound),
            ("ETARGET", InstallFailure::PackageNotFound),
            ("ERR_PNPM_FETCH_404", InstallFailure::PackageNotFound),
            ("ERR_PNPM_NO_MATCHING_VERSION", InstallFailure::PackageNotFound),
            ("ERESOLVE", InstallFailure::VersionConflict),
            ("EJSONPARSE", InstallFailure::BadPackageJson),
        ];
        CODES.iter().find(|(code, _)| text.contains(code)).map_or(InstallFailure::Failed, |(_, failure)| *failure)
    }
}

/// Why dependencies are not installed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum InstallError {
    #[error("{manager} is not installed ({lock} asks for it); install {manager} or remove {lock}")]
    ManagerMissing { manager: &'static str, lock: &'static str },
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

    #[test]
    fn failures_that_the_managers_name_are_recognized() {
        let of = InstallFailure::of_output;
        assert_eq!(of("npm error code E404; npm error 404 Not Found"), InstallFailure::PackageNotFound);
        assert_eq!(of("npm error code ERESOLVE"), InstallFailure::VersionConflict);
        assert_eq!(of("npm error code EJSONPARSE"), InstallFailure::BadPackageJson);
        assert_eq!(of("npm error code ECONNRESET"), InstallFailure::Failed);
        assert!(of("ERR_PNPM_FETCH_404").needs_edit() && !of("ECONNRESET").needs_edit());
    }
}
