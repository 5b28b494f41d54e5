use std::time::Duration;

use crate::Time;

/// Between two beats, on a timer that traffic never resets. The server hangs up after 66 s without one.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Until a beat must be answered: a rejected join blocks the server's socket for 5 s, so less would be unfair.
pub(crate) const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(8);

/// The pulse of one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    next: Time,
    unanswered: Option<(u64, Time)>,
}

/// What the timer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    Quiet,
    Beat,
    Dead,
}

impl Heartbeat {
    pub fn new(now: Time) -> Heartbeat {
        Heartbeat { next: now.after(HEARTBEAT_EVERY), unanswered: None }
    }

    pub fn tick(&mut self, now: Time) -> Pulse {
        if self.unanswered.is_some_and(|(_, until)| until <= now) {
            return Pulse::Dead;
        }
        if self.unanswered.is_none() && self.next <= now {
            return Pulse::Beat;
        }
        Pulse::Quiet
    }

    pub fn sent(&mut self, now: Time, reference: u64) {
        self.unanswered = Some((reference, now.after(HEARTBEAT_DEADLINE)));
        self.next = now.after(HEARTBEAT_EVERY);
    }

    pub fn answered(&mut self, reference: &str) {
        if self.unanswered.is_some_and(|(sent, _)| sent.to_string() == reference) {
            self.unanswered = None;
        }
    }

    pub fn deadline(&self) -> Time {
        self.unanswered.map_or(self.next, |(_, until)| until)
    }
}
