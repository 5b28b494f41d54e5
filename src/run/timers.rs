//! The loop's deadlines, which come before every other source.

use std::future::Future;
use std::time::Instant;

use sync_core::TimerReason;

/// A deadline of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The core has something to do.
    Core(TimerReason),
    /// `/status` is to be brought up to date.
    StatusRefresh,
}

/// When each timer is due.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timers {
    /// The core's next timer.
    pub(super) core: Option<(Instant, TimerReason)>,
    pub(super) status_refresh: Option<Instant>,
}

impl Timers {
    /// The timer that is due first.
    fn first(&self) -> Option<(Instant, Timer)> {
        let core = self.core.map(|(at, reason)| (at, Timer::Core(reason)));
        let status_refresh = self.status_refresh.map(|at| (at, Timer::StatusRefresh));
        core.into_iter().chain(status_refresh).min_by_key(|(at, _)| *at)
    }
}

/// Waits for the first timer or for `source`, whichever comes first. A timer that is due wins, even where `source` is
/// ready at every call: the clock is read here, since the runtime's own timers only go on while the loop waits.
pub(super) async fn timer_or<T>(timers: Timers, due: impl Fn(Timer) -> T, source: impl Future<Output = T>) -> T {
    let Some((at, timer)) = timers.first() else { return source.await };
    if at <= Instant::now() {
        return due(timer);
    }
    tokio::select! {
        event = source => event,
        () = tokio::time::sleep_until(at.into()) => due(timer),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REASON: TimerReason = TimerReason::ALL[0];

    fn core_at(at: Instant) -> Timers {
        Timers { core: Some((at, REASON)), status_refresh: None }
    }

    #[tokio::test]
    async fn a_source_that_is_always_ready_does_not_delay_a_timer() {
        let due = Instant::now() + Duration::from_millis(20);
        let mut events = 0_u64;
        while timer_or(core_at(due), Some, async { None }).await.is_none() {
            events += 1;
            assert!(due.elapsed() < Duration::from_secs(5), "the timer never fired in {events} events");
        }
        assert!(Instant::now() >= due && events > 0);
    }

    #[tokio::test]
    async fn the_earlier_timer_fires_first() {
        let now = Instant::now();
        let timers = Timers { core: Some((now + Duration::from_secs(3600), REASON)), status_refresh: Some(now) };
        assert_eq!(timer_or(timers, Some, std::future::pending()).await, Some(Timer::StatusRefresh));
        assert_eq!(timer_or(core_at(now), Some, std::future::pending()).await, Some(Timer::Core(REASON)));
    }

    #[tokio::test]
    async fn a_source_is_waited_for_until_the_timer_is_due() {
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(timer_or(core_at(later), Some, async { None }).await, None);
        assert_eq!(timer_or(Timers::default(), Some, async { None }).await, None);
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(timer_or(core_at(soon), Some, std::future::pending()).await, Some(Timer::Core(REASON)));
    }
}
