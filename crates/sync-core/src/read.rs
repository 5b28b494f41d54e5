use std::time::Duration;

use crate::{ContentHash, StageId, Version};

/// Names a read until its answer comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Something to be read from the database. The caller sends it with the current token and its own deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// `list_project_changes`.
    Changes {
        /// Changes above this revision.
        since: u64,
        /// At most so many rows a page.
        max_rows: u32,
        /// Whether the answer is to have content.
        with_content: bool,
    },
    /// `project_head`.
    Head,
    /// `get_project_file`.
    File {
        /// As the database spells it.
        path: String,
        /// Exactly this version.
        version: Version,
    },
    /// The object `<project_id>/<hash>` of bucket `project-assets`, streamed to the staging directory and verified.
    Asset {
        /// The object's name, which is the hash of its bytes.
        hash: ContentHash,
        /// Bytes expected, where known.
        size: Option<u64>,
    },
    /// `list_current_files` without content: the paths after this one, in order.
    CurrentFiles {
        /// The last path already listed, empty at the start.
        after: String,
    },
    /// One row of `list_current_files`, with content.
    CurrentFile {
        /// As the database spells it.
        path: String,
    },
}

/// The result of a read that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The JSON of a function's answer, unparsed: only the core knows its shape.
    Json(bytes::Bytes),
    /// A verified object in the staging directory.
    Staged(StageId),
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// 404 with `PGRST202`: the database has no such function.
    NoSuchFunction,
    /// `PT404`: the version asked for is gone; or the object is not there.
    Gone,
    /// 401, or a 403 because of an expired token: renew and ask again.
    Unauthorized(String),
    /// 42501 and other refusals that a new token does not change.
    Forbidden(String),
    /// The bytes of an object do not have the hash that is its name.
    WrongHash {
        /// Their hash.
        got: ContentHash,
    },
    /// Network, deadline, 429, 5xx: ask again later, not before `retry_after` where given.
    Unavailable {
        /// For people.
        error: String,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
    /// An answer that cannot be used: too large, another status.
    Unusable(String),
}
