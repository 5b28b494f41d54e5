use serde_json::{Value, json};
use sync_core::PathError;

use crate::code::Code;

/// The reason for which a write or a read was refused. Each has a code, with which PostgREST answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error("version conflict on {path:?}: expected {expected}, current {current}")]
    Conflict { path: String, expected: u64, current: u64 },
    #[error("file not found: {path:?}")]
    FileNotFound { path: String },
    #[error("version {version} of {path:?} not found")]
    VersionNotFound { path: String, version: u64 },
    #[error("invalid path: {0}")]
    Path(PathError),
    #[error("file type of {size} bytes; at most {limit} are allowed")]
    FileType { size: usize, limit: usize },
    #[error("the bulk has no entries")]
    EmptyBulk,
    #[error("the bulk has {count} entries; at most {limit} are allowed")]
    BulkTooLarge { count: usize, limit: usize },
    #[error("{path:?} is named twice in the bulk")]
    DuplicatePath { path: String },
    #[error("{path:?} has {size} bytes; at most {limit} are allowed")]
    FileTooLarge { path: String, size: usize, limit: usize },
    #[error("object {hash} of {size} bytes for {path:?} not found in project-assets; upload it first")]
    ObjectNotFound { path: String, hash: String, size: u64 },
    #[error("the local backend is full: it keeps at most {limit} bytes")]
    Full { limit: usize },
    #[error("too many writes; try again in {retry_after_ms} ms")]
    TooManyWrites { retry_after_ms: u64 },
    /// Refused by a PostgreSQL, with its own code and message.
    #[error("{message}")]
    Refused { code: String, message: String },
    #[error("cannot reach the database: {message}")]
    Unreachable { message: String },
    /// One entry of a bulk was refused, and with it the whole bulk.
    #[error("entry {index} ({path:?}): {error}")]
    Entry { index: usize, path: String, error: Box<StoreError> },
}

impl StoreError {
    /// The SQLSTATE.
    pub fn code(&self) -> &str {
        let code = match self {
            StoreError::Conflict { .. } => Code::VersionConflict,
            StoreError::FileNotFound { .. } | StoreError::VersionNotFound { .. } => Code::NotFound,
            StoreError::TooManyWrites { .. } => Code::TooManyWrites,
            StoreError::Full { .. } => Code::Full,
            StoreError::Unreachable { .. } => Code::ConnectionFailure,
            StoreError::Entry { error, .. } => return error.code(),
            StoreError::Refused { code, .. } => return code,
            StoreError::Path(_)
            | StoreError::FileType { .. }
            | StoreError::EmptyBulk
            | StoreError::BulkTooLarge { .. }
            | StoreError::DuplicatePath { .. }
            | StoreError::FileTooLarge { .. }
            | StoreError::ObjectNotFound { .. } => Code::InvalidValue,
        };
        code.as_str()
    }

    /// The answer's `details`: the contract's JSON for a conflict and for the rate limit; for an entry also its index and path.
    pub fn details(&self) -> Option<Value> {
        match self {
            StoreError::Conflict { path, expected, current } => {
                Some(json!({"file_path": path, "expected_version": expected, "current_version": current}))
            }
            StoreError::TooManyWrites { retry_after_ms } => Some(json!({"retry_after_ms": retry_after_ms})),
            StoreError::Entry { index, path, error } => {
                let mut details = error.details().unwrap_or_else(|| json!({}));
                details["entry"] = json!(index);
                details["file_path"] = json!(path);
                Some(details)
            }
            _ => None,
        }
    }
}
