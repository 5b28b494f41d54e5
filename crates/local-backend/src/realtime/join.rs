use serde_json::Value;

/// What a `phx_join` asks for. Everything of a wrong type counts as not said: such a join is public, silently.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinConfig {
    pub private: bool,
    pub ack: bool,
    pub own: bool,
    pub replication_ready: bool,
    pub replay: Option<Replay>,
    pub presence: Option<String>,
    pub postgres_changes: Vec<Value>,
    /// Nothing where the key is missing, or is an `sb_…` key, which Realtime ignores here.
    pub access_token: Option<String>,
}

/// Which past broadcasts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Sent at or after `since` (Unix milliseconds), the newest `limit` of them.
    From { since: u64, limit: usize },
    /// Parameters that make the server refuse the join.
    Invalid,
}

/// The most broadcasts that are replayed.
pub const MAX_REPLAY: usize = 25;

/// The year 9999 in Unix milliseconds: later is no time.
const LAST_MS: u64 = 253_402_300_799_000;

impl JoinConfig {
    pub fn parse(payload: &Value) -> JoinConfig {
        let config = &payload["config"];
        let flag = |value: &Value| value.as_bool().unwrap_or(false);
        JoinConfig {
            private: flag(&config["private"]),
            ack: flag(&config["broadcast"]["ack"]),
            own: flag(&config["broadcast"]["self"]),
            replication_ready: flag(&config["broadcast"]["replication_ready"]),
            replay: replay(&config["broadcast"]["replay"]),
            presence: flag(&config["presence"]["enabled"]).then(|| presence_key(&config["presence"]["key"])),
            postgres_changes: config["postgres_changes"].as_array().cloned().unwrap_or_default(),
            access_token: pushed_token(payload),
        }
    }
}

fn replay(value: &Value) -> Option<Replay> {
    let limit = match &value["limit"] {
        Value::Null => Some(MAX_REPLAY),
        limit => limit.as_u64().map(|limit| limit.min(MAX_REPLAY as u64) as usize),
    };
    match (value, value["since"].as_u64().filter(|since| *since <= LAST_MS), limit) {
        (Value::Null, ..) => None,
        (_, Some(since), Some(limit)) => Some(Replay::From { since, limit }),
        _ => Some(Replay::Invalid),
    }
}

/// The token of a join or of an `access_token` push.
pub fn pushed_token(payload: &Value) -> Option<String> {
    let token = payload["access_token"].as_str()?;
    (!token.starts_with("sb_")).then(|| token.into())
}

/// A key of its own for who gives none.
fn presence_key(key: &Value) -> String {
    match key.as_str() {
        Some(key) if !key.is_empty() => key.into(),
        _ => uuid::Uuid::new_v4().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_a_wrong_type_counts_as_not_said() {
        assert_eq!(JoinConfig::parse(&json!({})), JoinConfig::default());
        let wrong = json!({"config": {"private": "true", "broadcast": 1, "presence": [], "postgres_changes": {}}});
        assert_eq!(JoinConfig::parse(&wrong), JoinConfig::default());
        let right = json!({"config": {"private": true, "broadcast": {"ack": true}}, "access_token": "a.b.c"});
        let config = JoinConfig::parse(&right);
        assert!(config.private && config.ack && !config.own);
        assert_eq!(config.access_token.as_deref(), Some("a.b.c"));
        assert_eq!(JoinConfig::parse(&json!({"access_token": "sb_publishable_x"})).access_token, None);
    }
}
