use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// How often the dev server may be restarted: so many times within a window that slides, each later than the last.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: VecDeque<Instant>,
}

impl Budget {
    /// Takes one restart: the delay before it, with `jitter` (0 to 1) deciding between half and whole. None where the
    /// budget is spent.
    pub(super) fn take(&mut self, now: Instant, limits: &Limits, jitter: f64) -> Option<Duration> {
        while self.spent.front().is_some_and(|first| now.duration_since(*first) >= limits.restart_window) {
            self.spent.pop_front();
        }
        if self.spent.len() >= limits.restarts as usize {
            return None;
        }
        let doublings = self.spent.len().min(16) as u32;
        self.spent.push_back(now);
        let delay = (limits.backoff * 2u32.pow(doublings)).min(limits.backoff_max);
        Some(delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }

    /// Restarts taken within the window.
    pub(super) fn taken(&self) -> u32 {
        self.spent.len() as u32
    }

    /// An edit came: everything may be different now.
    pub(super) fn refill(&mut self) {
        self.spent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn doubles_ends_and_slides() {
        let limits = Limits {
            restarts: 4,
            restart_window: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(4),
            ..Limits::default()
        };
        let mut budget = Budget::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let delays: Vec<_> = (0..5).map(|second| budget.take(at(second), &limits, 1.0)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(delays, [seconds(1), seconds(2), seconds(4), seconds(4), None]);
        assert_eq!(budget.take(at(59), &limits, 0.0), None);
        assert_eq!(budget.take(at(60), &limits, 0.0), seconds(2), "the first is out of the window, half of 4 s");
        assert_eq!(budget.take(at(60), &limits, 0.0), None);
        budget.refill();
        assert_eq!(budget.take(at(60), &limits, 1.0), seconds(1));
    }
}
