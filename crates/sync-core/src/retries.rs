use std::time::Duration;

use crate::backoff::Backoff;
use crate::rng::Rng;

/// The server is there and said no, or closed the channel alone: within half a second, then more and more slowly.
const TOLD_BASE: Duration = Duration::from_millis(500);
const TOLD_CAP: Duration = Duration::from_secs(30);
/// The server is gone. Mostly that is one connection, which is to be back at once; for a whole fleet the first bound
/// is a burst of one second. The others make 10,000 agents 2,000 upgrades a second, less than the 2,500 joins of the
/// hosted service, and bring all of them back within 10 s of the server, whatever the outage took.
const LOST: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(6), Duration::from_secs(10)];
/// The server said that too many come. Nobody here knows its limit: 6 s are enough for 10,000 where it is 2,500 a
/// second, and whoever is refused again takes it for 100, the smallest plan's, where 10,000 need 100 s.
const CROWDED: [Duration; 3] = [Duration::from_secs(6), Duration::from_secs(90), Duration::from_secs(150)];

/// How an attempt, or a channel that was joined, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server said so; it is there.
    Told,
    /// There is no server to be heard.
    Lost,
    /// The server has more to do than it may: 429, `Too many joins per second`.
    Crowded,
}

/// When the channel is tried again. Each kind of end is counted apart, and each wait lies evenly between nothing and
/// its bound. `tests/fleet.rs` shows what that does to a server.
#[derive(Debug)]
pub(crate) struct Retries {
    told: Backoff,
    lost: u32,
    crowded: u32,
}

impl Retries {
    pub fn new() -> Retries {
        Retries { told: Backoff::new(Duration::ZERO, TOLD_BASE, TOLD_CAP), lost: 0, crowded: 0 }
    }

    /// How long to wait before the next attempt.
    pub fn next(&mut self, end: End, rng: &mut Rng) -> Duration {
        match end {
            End::Told => self.told.next(rng),
            End::Lost => step(&LOST, &mut self.lost, rng),
            End::Crowded => step(&CROWDED, &mut self.crowded, rng),
        }
    }

    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.told.attempts().saturating_add(self.lost).saturating_add(self.crowded)
    }

    pub fn reset(&mut self) {
        *self = Retries::new();
    }
}

fn step(bounds: &[Duration; 3], taken: &mut u32, rng: &mut Rng) -> Duration {
    let most = bounds[(*taken as usize).min(bounds.len() - 1)];
    *taken = taken.saturating_add(1);
    rng.between(Duration::ZERO, most)
}
