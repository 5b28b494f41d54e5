use std::time::Duration;

use crate::{
    CatchUpCause, DegradedReason, DisconnectReason, FileAction, PendingReason, ProjectPath, RejectReason, Revision,
    SkipReason, Version,
};

/// Something worth a log line, a metric or a place in the status. It never contains a secret or a file's content.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    ChannelJoined {
        private: bool,
        rejoin: bool,
    },
    /// The channel was lost, or an attempt to join it failed.
    ChannelLost {
        reason: DisconnectReason,
        detail: String,
    },
    /// The next attempt to connect or join, and the disconnect that it follows. One precedes each attempt but the first.
    ChannelRetry {
        reason: DisconnectReason,
        after: Duration,
        attempt: u32,
    },
    /// One file of the database is on disk. `lag` is receipt of the event to disk, `sent_at_ms` the event's own
    /// timestamp in Unix milliseconds where it had one.
    FileApplied {
        path: ProjectPath,
        version: Option<Version>,
        revision: Option<Revision>,
        bytes: u64,
        action: FileAction,
        lag: Duration,
        sent_at_ms: Option<u64>,
    },
    BulkApplied {
        revision: Option<Revision>,
        files: usize,
        changed: usize,
        lag: Duration,
        sent_at_ms: Option<u64>,
    },
    /// A catch-up ended.
    CatchUp {
        cause: CatchUpCause,
        from: Revision,
        to: Revision,
        files: usize,
        took: Duration,
    },
    CatchUpFailed {
        cause: CatchUpCause,
        error: String,
        retry_after: Duration,
    },
    /// An event, row or answer that was rejected.
    Rejected {
        reason: RejectReason,
        detail: String,
    },
    /// An input that changed nothing: counted only.
    Skipped {
        reason: SkipReason,
    },
    /// A file was accepted and could not be put on disk.
    PendingFileAdded {
        path: String,
        reason: PendingReason,
        error: String,
    },
    /// A pending file is on disk now, or not needed any more.
    PendingFileResolved {
        path: String,
    },
    /// Something other than the agent changed or removed a file of the database.
    LocalChange {
        path: ProjectPath,
        removed: bool,
    },
    /// A local change ended: the database changed the path, the file is as it was, or (`restored`) it is being put back.
    LocalChangeEnded {
        path: ProjectPath,
        restored: bool,
    },
    TokenRenewed,
    /// A reason was added to the list beside the phase.
    Degraded {
        reason: DegradedReason,
        detail: String,
    },
    /// A reason was removed from that list.
    Recovered {
        reason: DegradedReason,
    },
    /// The agent reached the database's state with every file on disk (true), or left it (false).
    InSync {
        current: bool,
        revision: Revision,
    },
}
