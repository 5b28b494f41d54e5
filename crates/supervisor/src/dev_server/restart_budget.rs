use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// How often the dev server may be restarted: at most `restarts` times within a sliding window, each after a longer
/// delay than the one before.
#[derive(Debug, Default)]
pub(super) struct RestartBudget {
    taken: VecDeque<Instant>,
}

impl RestartBudget {
    /// Takes one restart and returns the delay before it; `jitter` (0 to 1) chooses between half of the delay and all of
    /// it. None where the budget is spent.
    pub(super) fn take(&mut self, now: Instant, limits: &Limits, jitter: f64) -> Option<Duration> {
        while self.taken.front().is_some_and(|first| now.duration_since(*first) >= limits.restart_window) {
            self.taken.pop_front();
        }
        let doublings = self.attempts();
        if doublings >= limits.restarts {
            return None;
        }
        self.taken.push_back(now);
        let factor = 2u32.saturating_pow(doublings);
        let delay = limits.backoff.saturating_mul(factor).min(limits.backoff_max);
        Some(delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
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
    async fn delay_doubles_and_the_window_slides() {
        let limits = Limits {
            restarts: 4,
            restart_window: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(4),
            ..Limits::default()
        };
        let mut budget = RestartBudget::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let delays: Vec<_> = (0..5).map(|second| budget.take(at(second), &limits, 1.0)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(delays, [seconds(1), seconds(2), seconds(4), seconds(4), None]);
        assert_eq!(budget.take(at(59), &limits, 0.0), None);
        assert_eq!(budget.take(at(60), &limits, 0.0), seconds(2), "the first is out of the window; half of 4 s");
        assert_eq!(budget.take(at(60), &limits, 0.0), None);
        budget.refill();
        assert_eq!(budget.take(at(60), &limits, 1.0), seconds(1));
    }
}
