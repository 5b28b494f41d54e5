use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::timestamp::rfc3339_of;
use crate::{Options, Phase, Revision, Time};

/// `preview:applied` is told at most so often.
const APPLIED_EVERY: Duration = Duration::from_secs(1);

/// What is told on the status topic, and when.
#[derive(Debug)]
pub(crate) struct Publisher {
    on: bool,
    session_id: String,
    /// Unix milliseconds at the agent's start, by the last clock it was told.
    epoch_ms: u64,
    phases: VecDeque<Value>,
    /// The largest lag since `preview:applied` was last told.
    lag: Option<Duration>,
    last_applied: Option<Time>,
    last_phase: Option<Phase>,
}

impl Publisher {
    pub fn new(options: &Options) -> Publisher {
        Publisher {
            on: options.publish_status && options.live,
            session_id: options.session_id.clone(),
            epoch_ms: 0,
            phases: VecDeque::new(),
            lag: None,
            last_applied: None,
            last_phase: None,
        }
    }

    /// The phase, told only when something but the clock changed.
    pub fn phase_is(&mut self, now: Time, phase: Phase, revision: Revision) {
        self.epoch_ms = phase.unix_ms.saturating_sub(now.0.as_millis() as u64);
        let same =
            self.last_phase.as_ref().is_some_and(|last| Phase { unix_ms: last.unix_ms, ..phase.clone() } == *last);
        if !self.on || same {
            return;
        }
        let mut payload = json!({
            "session_id": self.session_id,
            "phase": phase.phase,
            "revision": revision,
            "dev_server": phase.dev_server,
            "at": rfc3339_of(phase.unix_ms),
        });
        if let Some(detail) = &phase.detail {
            payload["detail"] = detail.as_str().into();
        }
        self.phases.push_back(payload);
        self.last_phase = Some(phase);
    }

    /// Something of the database is on disk, so long after it was heard of.
    pub fn applied(&mut self, lag: Duration) {
        if self.on {
            self.lag = Some(self.lag.map_or(lag, |before| before.max(lag)));
        }
    }

    /// What is due.
    pub fn next(&mut self, now: Time, revision: Revision) -> Option<(&'static str, Value)> {
        if let Some(phase) = self.phases.pop_front() {
            return Some(("preview:status", phase));
        }
        if self.deadline()? > now {
            return None;
        }
        let lag = self.lag.take()?;
        self.last_applied = Some(now);
        let at = rfc3339_of(self.epoch_ms + now.0.as_millis() as u64);
        let payload = json!({
            "session_id": self.session_id, "revision": revision, "lag_ms": lag.as_millis() as u64, "at": at,
        });
        Some(("preview:applied", payload))
    }

    pub fn deadline(&self) -> Option<Time> {
        self.lag.map(|_| self.last_applied.map_or(Time::default(), |last| last.after(APPLIED_EVERY)))
    }
}
