use bytes::Bytes;

use crate::{ContentHash, PendingReason, ProjectPath, Revision, Version};

/// Names a batch of operations until its outcome comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Names a verified file in the staging directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub u64);

/// The verified bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory, its hash checked by the core.
    Bytes(Bytes),
    /// Downloaded to the staging directory, its hash checked by the shell on the way.
    Staged(StageId),
}

/// One change to the directory. A batch is carried out in order: everything is staged first, then renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Put `content` at `path`, unless the file there has exactly this content.
    Write {
        /// The file's path.
        path: ProjectPath,
        /// The new content.
        content: Content,
        /// The hash of the content.
        hash: ContentHash,
        /// The row's version, for the log.
        version: Option<Version>,
        /// The revision it came with, for the log.
        revision: Option<Revision>,
    },
    /// Remove the file at `path`, and directories left empty above it.
    Delete {
        /// The file's path.
        path: ProjectPath,
        /// The tombstone's version, for the log.
        version: Option<Version>,
        /// The revision it came with, for the log.
        revision: Option<Revision>,
    },
}

impl Op {
    /// The path that the operation changes.
    pub fn path(&self) -> &ProjectPath {
        match self {
            Op::Write { path, .. } | Op::Delete { path, .. } => path,
        }
    }
}

/// The result of one operation of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpResult {
    /// The operation's path.
    pub path: ProjectPath,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The directory was changed. For a write: whether the file is new, and its size in bytes.
    Changed {
        /// There was no file before.
        created: bool,
        /// Bytes on disk, 0 for a delete.
        bytes: u64,
    },
    /// The directory had the requested state already.
    Unchanged,
    /// It could not be done now: the file stays pending and is tried again.
    Failed {
        /// The code shown in status and metrics.
        reason: PendingReason,
        /// The whole error, for people.
        error: String,
    },
}
