//! The wall clock, for what people and other machines read, and points in time that cannot overflow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time that no process reaches: 30 years.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// `wait` after `start`. Where a clock cannot have that value (a setting may be a very long time), far in the future.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).or_else(|| start.checked_add(FAR)).unwrap_or(start)
}

/// `wait` from now; see [`after`].
pub(crate) fn from_now(wait: Duration) -> Instant {
    after(Instant::now(), wait)
}

/// Milliseconds since 1970; 0 for a clock before that.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_too_long() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(5)).duration_since(now), Duration::from_secs(5));
        assert!(after(now, Duration::MAX).duration_since(now) >= FAR);
    }
}
