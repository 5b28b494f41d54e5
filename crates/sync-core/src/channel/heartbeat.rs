use std::time::Duration;

use crate::Time;
use crate::time::{Timer, TimerReason};

/// The time between two heartbeats, on a timer that traffic never resets. The server closes the socket after 66 s
/// without one.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long an answer may take. A rejected join blocks the server's end of the socket for 5 s, so it must be more.
pub(crate) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(8);

/// The heartbeat of one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    next: Time,
    unanswered: Option<Unanswered>,
}

/// A heartbeat that was sent and not answered yet.
#[derive(Debug, Clone, Copy)]
struct Unanswered {
    reference: u64,
    until: Time,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatAction {
    Wait,
    Send,
    TimedOut,
}

impl Heartbeat {
    pub fn new(now: Time) -> Heartbeat {
        Heartbeat { next: now.after(HEARTBEAT_EVERY), unanswered: None }
    }

    pub fn tick(&mut self, now: Time) -> HeartbeatAction {
        match self.unanswered {
            Some(unanswered) if unanswered.until <= now => HeartbeatAction::TimedOut,
            None if self.next <= now => HeartbeatAction::Send,
            _ => HeartbeatAction::Wait,
        }
    }

    pub fn sent(&mut self, now: Time, reference: u64) {
        self.unanswered = Some(Unanswered { reference, until: now.after(HEARTBEAT_TIMEOUT) });
        self.next = now.after(HEARTBEAT_EVERY);
    }

    pub fn answered(&mut self, reference: &str) {
        if self.unanswered.is_some_and(|unanswered| unanswered.reference.to_string() == reference) {
            self.unanswered = None;
        }
    }

    pub fn deadline(&self) -> Timer {
        match self.unanswered {
            Some(unanswered) => TimerReason::HeartbeatTimeout.at(unanswered.until),
            None => TimerReason::Heartbeat.at(self.next),
        }
    }
}
