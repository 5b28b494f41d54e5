//! How values are written in log lines and on a terminal.

use std::time::Duration;

/// `text` without control characters: what the project's code prints must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// The whole milliseconds of `duration`: every duration is logged in this unit.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
