use serde_json::{Value, json};
use sync_core::PathError;

/// Why a write or a read was refused. Each has a SQLSTATE, with which PostgREST answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error("version conflict on {path:?}: expected {expected}, current {current}")]
    Conflict { path: String, expected: u64, current: u64 },
    #[error("no such file: {path:?}")]
    NoSuchFile { path: String },
    #[error("version {version} of {path:?} is gone")]
    NoSuchVersion { path: String, version: u64 },
    #[error("invalid path: {0}")]
    Path(#[from] PathError),
    #[error("a bulk without entries")]
    EmptyBulk,
    #[error("a bulk of {count} entries, more than {limit}")]
    BulkTooLarge { count: usize, limit: usize },
    #[error("{path:?} stands twice in the bulk")]
    Twice { path: String },
    #[error("file of {size} bytes, more than {limit}: {path:?}")]
    FileTooLarge { path: String, size: usize, limit: usize },
    #[error("no object {hash} of {size} bytes in project-assets for {path:?}")]
    NoSuchObject { path: String, hash: String, size: u64 },
    #[error("the local backend is full: more than {limit} bytes")]
    Full { limit: usize },
    #[error("too many writes, try again in {retry_after_ms} ms")]
    TooMany { retry_after_ms: u64 },
    /// Refused by a PostgreSQL, in its words.
    #[error("{message}")]
    Refused { code: String, message: String },
    #[error("the database cannot be reached: {message}")]
    Unreachable { message: String },
    /// One entry of a bulk is at fault, and so the whole of it was refused.
    #[error("entry {index} ({path:?}): {error}")]
    Entry { index: usize, path: String, error: Box<StoreError> },
}

impl StoreError {
    /// The SQLSTATE.
    pub fn code(&self) -> &str {
        match self {
            StoreError::Conflict { .. } => "PT409",
            StoreError::NoSuchFile { .. } | StoreError::NoSuchVersion { .. } => "PT404",
            StoreError::TooMany { .. } => "PT429",
            StoreError::Full { .. } => "53100",
            StoreError::Entry { error, .. } => error.code(),
            StoreError::Refused { code, .. } => code,
            StoreError::Unreachable { .. } => "08006",
            _ => "22023",
        }
    }

    /// What stands in `details`: for a conflict and a refusal by rate the JSON of the contract, for an entry which one.
    pub fn details(&self) -> Option<Value> {
        match self {
            StoreError::Conflict { path, expected, current } => {
                Some(json!({"file_path": path, "expected_version": expected, "current_version": current}))
            }
            StoreError::TooMany { retry_after_ms } => Some(json!({"retry_after_ms": retry_after_ms})),
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
