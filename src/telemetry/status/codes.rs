//! Every short code that stands in a label of `/metrics`, in `/status` or in a log line, by what it is a code of.
//! `docs/operations.md` says of each what to do about it. Three kinds stand with their types: `sync_core::Reason` (degraded),
//! `sync_core::Loss` (the channel) and `dev_server::FaultReason`.

/// Why the database was read for what was missed.
pub const CATCH_UP_CAUSES: &[&str] = &[
    "bad_event",
    "behind",
    "compare",
    "content_hash",
    "digest",
    "digest_again",
    "gap",
    "head_below",
    "held_too_many",
    "hydrated",
    "incomplete_event",
    "joined",
    "no_content",
    "no_version",
    "older",
    "provisional",
    "provisional_too_many",
    "reset",
    "restored",
    "row_changed",
    "snapshot_ready",
    "version_gone",
];

/// Why something that came from outside was refused.
pub const REJECTED: &[&str] = &["answer", "content_hash", "event", "frame", "pages", "path", "postgres_changes"];

/// Why an event changed nothing. None of them is a fault.
pub const SKIPPED: &[&str] = &[
    "held_too_many",
    "hydrated_twice",
    "incomplete",
    "no_content",
    "no_version",
    "old",
    "other_content",
    "other_topic",
    "provisional_too_many",
    "removal_asked_again",
    "unasked_renewal",
    "unknown_batch",
    "unknown_event",
    "unknown_frame",
    "unknown_read",
    "unreachable",
];

/// Why a file of the database is not on disk.
pub const DEBT_REASONS: &[&str] = &[
    "case_conflict",
    "fetch_failed",
    "fetching",
    "gone",
    "io",
    "is_a_directory",
    "no_space",
    "not_a_directory",
    "permission_denied",
    "provisional",
    "unverifiable",
];

/// Bounds that were reached and got their defined way out.
pub const LIMITS: &[&str] = &["held_events", "log_lines", "pages", "provisional_events", "restart_budget"];

/// What became of a file.
pub const ACTIONS: &[&str] = &["deleted", "updated"];

/// The parts of a hydration.
pub const HYDRATION_PHASES: &[&str] = &["wait", "extract", "place", "total"];
