use std::time::Duration;

use crate::Backoff;
use crate::rng::Rng;

/// No wait is shorter. A wait of zero would be due in the same call that started it, and the loop would be called again
/// at once.
const LEAST: Duration = Duration::from_millis(1);
/// Waits after a refusal: within half a second at first, then longer and longer.
const REJECTED_BASE: Duration = Duration::from_millis(500);
const REJECTED_CAP: Duration = Duration::from_secs(30);
/// Upper bounds of the waits for a server that cannot be reached. Mostly a single connection broke, which should be back
/// at once; for a whole fleet the first bound is a burst of one second. The others make 10,000 agents 2,000 upgrades a
/// second, less than the 2,500 joins of the hosted service, and bring all of them back within 10 s of the server,
/// however long the outage was.
const UNREACHABLE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(6), Duration::from_secs(10)];
/// Upper bounds of the waits after a rate limit. The limit is not known: 6 s are enough for 10,000 agents where it is
/// 2,500 a second; after a second refusal it is assumed to be 100, the smallest plan's, where 10,000 need 100 s.
const RATE_LIMITED: [Duration; 3] = [Duration::from_secs(6), Duration::from_secs(90), Duration::from_secs(150)];

/// How fast the channel is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryClass {
    /// The server is there and refused.
    Rejected,
    /// The server does not answer.
    Unreachable,
    /// The server has more work than its limits allow: 429, `Too many joins per second`.
    RateLimited,
}

/// When the channel is tried again. Each class is counted separately, and each wait is drawn evenly between zero and its
/// bound, and is at least [`LEAST`]. `tests/core/fleet.rs` shows the effect on a server.
#[derive(Debug)]
pub(super) struct Retries {
    rejected: Backoff,
    unreachable: u32,
    rate_limited: u32,
    /// What the server asked to wait before the next attempt, in addition to the drawn wait: a fleet that got the same
    /// answer must not come back all at once.
    asked_by_server: Duration,
}

impl Retries {
    pub fn new() -> Retries {
        let rejected = Backoff::new(Duration::ZERO, REJECTED_BASE, REJECTED_CAP);
        Retries { rejected, unreachable: 0, rate_limited: 0, asked_by_server: Duration::ZERO }
    }

    /// How long to wait before the next attempt.
    pub fn next(&mut self, class: RetryClass, rng: &mut Rng) -> Duration {
        let wait = match class {
            RetryClass::Rejected => self.rejected.next(rng),
            RetryClass::Unreachable => next_of(&UNREACHABLE, &mut self.unreachable, rng),
            RetryClass::RateLimited => next_of(&RATE_LIMITED, &mut self.rate_limited, rng),
        };
        wait.max(LEAST).saturating_add(std::mem::take(&mut self.asked_by_server))
    }

    /// The next attempt comes no earlier than after `wait`.
    pub fn wait_at_least(&mut self, wait: Duration) {
        self.asked_by_server = wait;
    }

    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.rejected.attempts().saturating_add(self.unreachable).saturating_add(self.rate_limited)
    }

    pub fn reset(&mut self) {
        *self = Retries::new();
    }
}

/// A wait up to the bound of this attempt; the last bound holds for all later ones.
fn next_of(bounds: &[Duration; 3], attempts: &mut u32, rng: &mut Rng) -> Duration {
    let [.., last] = *bounds;
    let most = bounds.get(*attempts as usize).copied().unwrap_or(last);
    *attempts = attempts.saturating_add(1);
    rng.between(Duration::ZERO, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator with this seed draws zero first. Simulator seed 7521 had such a draw: the retry was due at once.
    const DRAWS_ZERO: u64 = 0x61c8_8646_80b5_83eb;

    #[test]
    fn no_wait_is_zero() {
        assert_eq!(Rng::new(DRAWS_ZERO).next_u64(), 0);
        for class in [RetryClass::Rejected, RetryClass::Unreachable, RetryClass::RateLimited] {
            let wait = Retries::new().next(class, &mut Rng::new(DRAWS_ZERO));
            assert!(wait > Duration::ZERO, "{class:?}: {wait:?}");
        }
    }
}
