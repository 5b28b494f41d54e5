use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// Most sessions that are kept; the one with the oldest report is removed first.
const MAX_SESSIONS: usize = 100;

/// The last reports of agents on the project's status topic. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct AgentReports(Arc<Mutex<BTreeMap<String, Report>>>);

#[derive(Debug, Clone)]
struct Report {
    status: Value,
    applied: Value,
    verdict: Value,
    at_ms: i64,
}

impl AgentReports {
    /// Each session with its last `preview:status`, `preview:applied` and `preview:verdict`, and the time of the last one in
    /// Unix milliseconds: `[{"session_id", "status", "applied", "verdict", "at_ms"}]`.
    pub fn latest(&self) -> Value {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = |(id, report): (&String, &Report)| json!({"session_id": id, "status": report.status, "applied": report.applied, "verdict": report.verdict, "at_ms": report.at_ms});
        sessions.iter().map(session).collect()
    }

    /// Records a broadcast, `{"event", "payload"}`. Everything but the three states that agents send is ignored.
    pub(super) fn record(&self, broadcast: &str) {
        let Ok(broadcast) = serde_json::from_str::<Value>(broadcast) else { return };
        let payload = broadcast.get("payload").unwrap_or(&Value::Null);
        let text = |value: &'_ Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(event), Some(session)) = (text(&broadcast, "event"), text(payload, "session_id")) else {
            return;
        };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = jiff::Timestamp::now().as_millisecond();
        let report = Report { status: Value::Null, applied: Value::Null, verdict: Value::Null, at_ms };
        match event.as_str() {
            "preview:status" => sessions.entry(session.clone()).or_insert(report).status = payload.clone(),
            "preview:applied" => sessions.entry(session.clone()).or_insert(report).applied = payload.clone(),
            "preview:verdict" => sessions.entry(session.clone()).or_insert(report).verdict = payload.clone(),
            _ => return,
        }
        if let Some(report) = sessions.get_mut(&session) {
            report.at_ms = at_ms;
        }
        if sessions.len() > MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, report)| report.at_ms).map(|(session, _)| session.clone());
            oldest.and_then(|session| sessions.remove(&session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_report_of_a_bounded_number_of_sessions_is_kept() {
        let agents = AgentReports::default();
        for broadcast in [
            r#"{"event":"preview:status","payload":{"session_id":"a","phase":"hydrating"}}"#,
            r#"{"event":"preview:status","payload":{"session_id":"a","phase":"serving"}}"#,
            r#"{"event":"preview:applied","payload":{"session_id":"a","revision":7}}"#,
            r#"{"event":"cursor","payload":{"session_id":"b"}}"#,
            r#"{"event":"preview:status","payload":{}}"#,
            "no JSON",
        ] {
            agents.record(broadcast);
        }
        let latest = agents.latest();
        assert_eq!(latest.as_array().unwrap().len(), 1);
        assert_eq!((&latest[0]["status"]["phase"], &latest[0]["applied"]["revision"]), (&json!("serving"), &json!(7)));
        for session in 0..2 * MAX_SESSIONS {
            agents.record(
                &json!({"event": "preview:status", "payload": {"session_id": session.to_string()}}).to_string(),
            );
        }
        assert_eq!(agents.latest().as_array().unwrap().len(), MAX_SESSIONS);
    }
}
