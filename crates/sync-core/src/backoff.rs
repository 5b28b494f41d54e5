use std::time::Duration;

use crate::rng::Rng;

/// Exponential backoff with full jitter: the n-th wait is drawn evenly between `least` and the smaller of `cap` and
/// `base * 2^n`, so that a fleet that lost its server together does not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits from `least` up to `base`, doubled with each attempt, never above `cap`.
    pub const fn new(least: Duration, base: Duration, cap: Duration) -> Backoff {
        Backoff { least, base, cap, attempts: 0 }
    }

    /// How long to wait before the next attempt.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let most = self.base.saturating_mul(2u32.saturating_pow(self.attempts)).min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        rng.between(self.least, most)
    }

    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts with short waits again: an attempt succeeded.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_up_to_the_cap_and_start_again_after_a_reset() {
        let mut rng = Rng::new(7);
        let (base, cap) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(Duration::ZERO, base, cap);
        let mut longest = Duration::ZERO;
        for attempt in 0..2_000 {
            let wait = backoff.next(&mut rng);
            assert!(wait <= cap && wait <= base.saturating_mul(2u32.saturating_pow(attempt)), "{attempt}: {wait:?}");
            longest = longest.max(wait);
        }
        assert!(longest > cap * 9 / 10, "{longest:?}");
        backoff.reset();
        assert!(backoff.next(&mut rng) <= base);
    }
}
