//! The limit of open files: high for the agent, and for its children what the agent was started with.
//!
//! Some programs close every descriptor up to the limit, or reserve memory for each; with a limit of a billion they hang.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that the agent was started with; none before [`raise_open_files_limit`].
static AT_START: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's limit of open files (the soft limit) to the most that the system allows it (the hard limit). Where
/// that fails, the old limit stays. Children get the old limit.
pub fn raise_open_files_limit() {
    let at_start = AT_START.get_or_init(|| getrlimit(Resource::Nofile));
    let maximum = at_start.maximum;
    // macOS refuses to set it to "no limit"; the old limit then stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The limit for a child; none where the agent's own limit was not raised.
pub(crate) fn limit_at_start() -> Option<Rlimit> {
    AT_START.get().copied()
}

/// Sets the limit of the calling process. It makes one system call only, so it may run between fork and exec.
pub(crate) fn lower_open_files_limit(limit: Option<&Rlimit>) {
    if let Some(limit) = limit {
        // Lowering a soft limit is always allowed. Were it not, the child would have the agent's limit.
        let _ = setrlimit(Resource::Nofile, *limit);
    }
}
