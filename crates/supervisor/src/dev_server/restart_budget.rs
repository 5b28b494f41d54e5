use std::collections::VecDeque;
use std::time::Duration;

use sync_core::{Backoff, Rng};
use tokio::time::Instant;

use super::Limits;

/// How often the dev server may be restarted: at most `restarts` times within a sliding window, each after a longer
/// delay than the one before.
#[derive(Debug)]
pub(super) struct RestartBudget {
    taken: VecDeque<Instant>,
    restarts: u32,
    window: Duration,
    backoff: Backoff,
}

impl RestartBudget {
    pub(super) fn new(limits: &Limits) -> RestartBudget {
        RestartBudget {
            taken: VecDeque::new(),
            restarts: limits.restarts,
            window: limits.restart_window,
            // Never at once: a port needs a moment to become free.
            backoff: Backoff::new(
                limits.backoff.checked_div(2).unwrap_or_default(),
                limits.backoff,
                limits.backoff_max,
            ),
        }
    }

    /// Takes one restart and returns the delay before it. None where the budget is spent.
    pub(super) fn take(&mut self, now: Instant, rng: &mut Rng) -> Option<Duration> {
        while self.taken.front().is_some_and(|first| now.duration_since(*first) >= self.window) {
            self.taken.pop_front();
        }
        if self.taken.is_empty() {
            self.backoff.reset();
        }
        if self.attempts() >= self.restarts {
            return None;
        }
        self.taken.push_back(now);
        Some(self.backoff.next(rng))
    }

    /// Restarts taken within the window.
    pub(super) fn attempts(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }

    /// A file changed, so the next start may go well.
    pub(super) fn refill(&mut self) {
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn delay_grows_and_the_window_slides() {
        let second = Duration::from_secs(1);
        let limits = Limits {
            restarts: 4,
            restart_window: 60 * second,
            backoff: second,
            backoff_max: 4 * second,
            ..Limits::default()
        };
        for seed in 0..100 {
            let (mut budget, mut rng) = (RestartBudget::new(&limits), Rng::new(seed));
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            for (number, most) in [1, 2, 4, 4].into_iter().enumerate() {
                let delay = budget.take(at(number as u64), &mut rng).expect("a restart");
                assert!(delay >= second / 2 && delay <= most * second, "{number}: {delay:?}");
            }
            assert_eq!(budget.take(at(59), &mut rng), None);
            assert!(budget.take(at(60), &mut rng).is_some(), "the first is out of the window");
            assert_eq!(budget.take(at(60), &mut rng), None);
            budget.refill();
            assert!(budget.take(at(60), &mut rng).expect("a restart") <= second);
        }
    }
}
