use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::time::{Timer, TimerReason};
use crate::wire::StatusEvent;
use crate::wire::timestamp::rfc3339_of;
use crate::{PhaseReport, Revision, Time};

/// The shortest time between two `preview:applied`.
const APPLIED_EVERY: Duration = Duration::from_secs(1);

/// Decides what is published on the status topic, and when.
#[derive(Debug)]
pub(crate) struct StatusPublisher {
    session_id: String,
    /// Unix milliseconds at the agent's start, by the last wall clock that was reported.
    epoch_ms: u64,
    /// Messages to be sent as soon as possible.
    due: VecDeque<StatusMessage>,
    /// The largest lag since the last `preview:applied`.
    lag: Option<Duration>,
    last_applied: Option<Time>,
    last_phase: Option<PhaseReport>,
}

/// Something to be published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusMessage {
    pub event: StatusEvent,
    pub payload: Value,
}

impl StatusPublisher {
    pub fn new(session_id: String) -> StatusPublisher {
        StatusPublisher {
            session_id,
            epoch_ms: 0,
            due: VecDeque::new(),
            lag: None,
            last_applied: None,
            last_phase: None,
        }
    }

    /// Publishes the phase, where anything but the clock changed.
    pub fn phase_changed(&mut self, now: Time, report: PhaseReport, revision: Revision) {
        self.epoch_ms = report.unix_ms.saturating_sub(millis(now.0));
        let unchanged = |last: &PhaseReport| PhaseReport { unix_ms: last.unix_ms, ..report.clone() } == *last;
        if self.last_phase.as_ref().is_some_and(unchanged) {
            return;
        }
        let mut payload = json!({
            "session_id": self.session_id,
            "phase": report.phase.as_str(),
            "revision": revision,
            "dev_server": report.dev_server,
            "at": rfc3339_of(report.unix_ms),
        });
        if let (Some(detail), Value::Object(fields)) = (&report.detail, &mut payload) {
            fields.insert("detail".into(), detail.as_str().into());
        }
        self.due.push_back(StatusMessage { event: StatusEvent::Status, payload });
        self.last_phase = Some(report);
    }

    /// Publishes an object, with the session's id.
    pub fn publish(&mut self, event: StatusEvent, mut payload: Value) {
        if let Value::Object(fields) = &mut payload {
            fields.insert("session_id".into(), self.session_id.as_str().into());
        }
        self.due.push_back(StatusMessage { event, payload });
    }

    /// Something of the database is on disk, `lag` after it was received.
    pub fn applied(&mut self, lag: Duration) {
        self.lag = Some(self.lag.map_or(lag, |before| before.max(lag)));
    }

    /// The next message that is due.
    pub fn next(&mut self, now: Time, revision: Revision) -> Option<StatusMessage> {
        if let Some(message) = self.due.pop_front() {
            return Some(message);
        }
        if self.deadline()?.at > now {
            return None;
        }
        let lag = self.lag.take()?;
        self.last_applied = Some(now);
        let at = rfc3339_of(self.epoch_ms.saturating_add(millis(now.0)));
        let payload = json!({
            "session_id": self.session_id, "revision": revision, "lag_ms": millis(lag), "at": at,
        });
        Some(StatusMessage { event: StatusEvent::Applied, payload })
    }

    pub fn deadline(&self) -> Option<Timer> {
        let at = self.last_applied.map_or(Time::default(), |last| last.after(APPLIED_EVERY));
        self.lag.map(|_| TimerReason::PublishApplied.at(at))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
