//! Detects that the machine was suspended.

use std::time::{Duration, Instant, SystemTime};

/// How often the clocks are compared.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Wall time that is further ahead of monotonic time than this means that the machine slept. It can also be a corrected
/// clock; a rejoin then does no harm.
const MIN_SLEEP: Duration = Duration::from_secs(10);

/// Detects that the machine was suspended: monotonic time stops meanwhile, wall time does not.
#[derive(Debug)]
pub(super) struct SleepWatch {
    last: (Instant, SystemTime),
    timer: tokio::time::Interval,
}

impl SleepWatch {
    pub(super) fn start() -> SleepWatch {
        let mut timer = tokio::time::interval(CHECK_INTERVAL);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        SleepWatch { last: (Instant::now(), SystemTime::now()), timer }
    }

    /// Returns once the machine has slept. Cancel safe.
    pub(super) async fn resumed(&mut self) {
        loop {
            self.timer.tick().await;
            let now = (Instant::now(), SystemTime::now());
            let slept = ran_ahead(self.last, now);
            self.last = now;
            if slept {
                return;
            }
        }
    }
}

fn ran_ahead(last: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    // A wall clock that was set back is not a sleep.
    let wall = now.1.duration_since(last.1).unwrap_or_default();
    wall > now.0.duration_since(last.0).saturating_add(MIN_SLEEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_sleep_but_not_waiting_or_a_clock_set_back() {
        let start = (Instant::now(), SystemTime::now());
        let later = |monotonic: u64, wall: i64| {
            let wall = if wall >= 0 {
                start.1 + Duration::from_secs(wall as u64)
            } else {
                start.1 - Duration::from_secs(wall.unsigned_abs())
            };
            (start.0 + Duration::from_secs(monotonic), wall)
        };
        assert!(!ran_ahead(start, later(2, 2)));
        assert!(!ran_ahead(start, later(60, 60)));
        assert!(!ran_ahead(start, later(2, -3600)));
        assert!(ran_ahead(start, later(2, 3600)));
    }
}
