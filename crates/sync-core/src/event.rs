use std::time::Duration;

use crate::{Loss, ProjectPath, Revision, Version};

/// Something worth a log line, a metric or a place in the status. Never holds a secret or a file's content.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    ChannelJoined {
        private: bool,
        rejoin: bool,
    },
    /// The channel is gone, or did not come about.
    ChannelLost {
        reason: Loss,
        detail: String,
    },
    /// The next attempt to connect or join, and the loss that it mends. One comes before each but the first.
    ChannelRetry {
        reason: Loss,
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
        deleted: bool,
        created: bool,
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
        cause: &'static str,
        from: Revision,
        to: Revision,
        files: usize,
        took: Duration,
    },
    CatchUpFailed {
        cause: &'static str,
        error: String,
        retry_after: Duration,
    },
    /// An event, row or answer that was refused; `reason` is a short code for metrics.
    Rejected {
        reason: &'static str,
        detail: String,
    },
    /// An event that says nothing new, or one that nobody here knows: counted only.
    Skipped {
        reason: &'static str,
    },
    /// A file accepted but not on disk.
    DebtAdded {
        path: String,
        reason: &'static str,
        error: String,
    },
    DebtPaid {
        path: String,
    },
    /// Somebody else than the agent changed or removed a file of the database.
    LocalChange {
        path: ProjectPath,
        removed: bool,
    },
    /// It is none any more: the database changed the path, it is as it was, or (`restored`) is being put back.
    LocalChangeSettled {
        path: ProjectPath,
        restored: bool,
    },
    TokenRenewed,
    /// A reason was added to the list beside the phase.
    Degraded {
        reason: Reason,
        detail: String,
    },
    /// It was taken off again.
    Recovered {
        reason: Reason,
    },
    /// Known revision and head became equal with no debt (true), or parted (false).
    InSync {
        current: bool,
        revision: Revision,
    },
}

/// Why the agent is less than it should be; its name is the code shown beside the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    ChannelDown,
    Behind,
    Debts,
    DigestWrong,
    ReadsFailing,
    OlderDatabase,
    RenewalRefused,
    TokenExpired,
    StateNotKept,
    NoLiveUpdates,
}

impl Reason {
    /// Every one of them.
    pub const ALL: [Reason; 10] = [
        Reason::ChannelDown,
        Reason::Behind,
        Reason::Debts,
        Reason::DigestWrong,
        Reason::ReadsFailing,
        Reason::OlderDatabase,
        Reason::RenewalRefused,
        Reason::TokenExpired,
        Reason::StateNotKept,
        Reason::NoLiveUpdates,
    ];

    /// The code used in status, logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::ChannelDown => "channel_down",
            Reason::Behind => "behind",
            Reason::Debts => "debts",
            Reason::DigestWrong => "digest_wrong",
            Reason::ReadsFailing => "reads_failing",
            Reason::OlderDatabase => "older_database",
            Reason::RenewalRefused => "renewal_refused",
            Reason::TokenExpired => "token_expired",
            Reason::StateNotKept => "state_not_kept",
            Reason::NoLiveUpdates => "no_live_updates",
        }
    }
}
