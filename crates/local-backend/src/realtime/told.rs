use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// Sessions remembered; of more, those that were heard longest ago are forgotten.
const MAX_SESSIONS: usize = 100;

/// What agents have told of themselves on the project's status topic. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Agents(Arc<Mutex<BTreeMap<String, Heard>>>);

#[derive(Debug, Clone)]
struct Heard {
    status: Value,
    applied: Value,
    at_ms: i64,
}

impl Agents {
    /// Each session with its last `preview:status` and `preview:applied`, and when it was last heard (Unix milliseconds):
    /// `[{"session_id", "status", "applied", "at_ms"}]`.
    pub fn heard(&self) -> Value {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = |(id, heard): (&String, &Heard)| json!({"session_id": id, "status": heard.status, "applied": heard.applied, "at_ms": heard.at_ms});
        sessions.iter().map(session).collect()
    }

    /// Takes in a broadcast, `{"event", "payload"}`; anything but an agent's own two events is passed over.
    pub(super) fn hear(&self, broadcast: &str) {
        let Ok(broadcast) = serde_json::from_str::<Value>(broadcast) else { return };
        let payload = &broadcast["payload"];
        let (Some(event), Some(session)) = (broadcast["event"].as_str(), payload["session_id"].as_str()) else {
            return;
        };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = jiff::Timestamp::now().as_millisecond();
        let heard = Heard { status: Value::Null, applied: Value::Null, at_ms };
        match event {
            "preview:status" => sessions.entry(session.to_owned()).or_insert(heard).status = payload.clone(),
            "preview:applied" => sessions.entry(session.to_owned()).or_insert(heard).applied = payload.clone(),
            _ => return,
        }
        if let Some(heard) = sessions.get_mut(session) {
            heard.at_ms = at_ms;
        }
        if sessions.len() > MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, heard)| heard.at_ms).map(|(session, _)| session.clone());
            oldest.and_then(|session| sessions.remove(&session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_session_is_kept_and_no_more_sessions_than_the_bound() {
        let agents = Agents::default();
        for broadcast in [
            r#"{"event":"preview:status","payload":{"session_id":"a","phase":"hydrating"}}"#,
            r#"{"event":"preview:status","payload":{"session_id":"a","phase":"serving"}}"#,
            r#"{"event":"preview:applied","payload":{"session_id":"a","revision":7}}"#,
            r#"{"event":"cursor","payload":{"session_id":"b"}}"#,
            r#"{"event":"preview:status","payload":{}}"#,
            "no JSON",
        ] {
            agents.hear(broadcast);
        }
        let heard = agents.heard();
        assert_eq!(heard.as_array().unwrap().len(), 1);
        assert_eq!((&heard[0]["status"]["phase"], &heard[0]["applied"]["revision"]), (&json!("serving"), &json!(7)));
        for session in 0..2 * MAX_SESSIONS {
            agents
                .hear(&json!({"event": "preview:status", "payload": {"session_id": session.to_string()}}).to_string());
        }
        assert_eq!(agents.heard().as_array().unwrap().len(), MAX_SESSIONS);
    }
}
