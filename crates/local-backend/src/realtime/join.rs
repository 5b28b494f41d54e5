use serde_json::{Value, json};

use super::hub::Visibility;

/// The parameters of a `phx_join`. A flag of a wrong type counts as missing, so such a join is public.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinConfig {
    pub visibility: Visibility,
    /// Reply to each broadcast of the client.
    pub ack: bool,
    /// Send the client its own broadcasts.
    pub own: bool,
    /// Announce when the database's stream is ready.
    pub replication_ready: bool,
    pub replay: Option<Replay>,
    pub presence_key: Option<String>,
    pub postgres_changes: Vec<Value>,
    /// `None` without a token, and for an `sb_…` key, which Realtime ignores here.
    pub access_token: Option<String>,
}

/// Which past broadcasts a join asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The newest `limit` broadcasts sent at or after `since` (Unix milliseconds).
    From { since: u64, limit: usize },
    /// Invalid parameters, which refuse the join.
    Invalid,
}

/// A `config`, or its `broadcast`, that is not an object: the real server raises this exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;

impl WrongType {
    /// The reason in the answer, as the real server gives it.
    pub fn reason(self) -> &'static str {
        "UnknownErrorOnChannel: no function clause matching in Access.get/3"
    }
}

/// Most broadcasts that are replayed.
pub const MAX_REPLAY: usize = 25;

/// The end of the year 9999 in Unix milliseconds: later times are invalid.
const LAST_MS: u64 = 253_402_300_799_000;

impl JoinConfig {
    /// Reads the payload of a join of `topic` (without `realtime:`).
    ///
    /// # Errors
    /// A `config` or a `broadcast` that is neither an object nor null.
    pub fn parse(payload: &Value, topic: &str) -> Result<JoinConfig, WrongType> {
        let config = object(payload.get("config"))?;
        let broadcast = object(config.get("broadcast"))?;
        let presence = config.get("presence").unwrap_or(&Value::Null);
        let flag = |value: &Value, name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        let postgres_changes = match payload.get("config") {
            Some(_) => config.get("postgres_changes").and_then(Value::as_array).cloned().unwrap_or_default(),
            // A join of the API before `config`: the topic's parts are schema, table and filter.
            None => vec![topic_as_table(topic)],
        };
        Ok(JoinConfig {
            visibility: if flag(config, "private") { Visibility::Private } else { Visibility::Public },
            ack: flag(broadcast, "ack"),
            own: flag(broadcast, "self"),
            replication_ready: flag(broadcast, "replication_ready"),
            replay: broadcast.get("replay").and_then(replay),
            presence_key: flag(presence, "enabled").then(|| presence_key(presence.get("key"))),
            postgres_changes,
            access_token: pushed_token(payload),
        })
    }
}

fn object(value: Option<&Value>) -> Result<&Value, WrongType> {
    match value {
        None => Ok(&Value::Null),
        Some(value @ (Value::Null | Value::Object(_))) => Ok(value),
        Some(_) => Err(WrongType),
    }
}

fn topic_as_table(topic: &str) -> Value {
    let parts = ["schema", "table", "filter"].into_iter().zip(topic.splitn(3, ':'));
    Value::Object(parts.map(|(name, part)| (name.to_owned(), json!(part))).collect())
}

fn replay(value: &Value) -> Option<Replay> {
    let limit = match value.get("limit") {
        None | Some(Value::Null) => Some(MAX_REPLAY),
        Some(limit) => limit.as_u64().and_then(|limit| usize::try_from(limit).ok()).map(|limit| limit.min(MAX_REPLAY)),
    };
    let since = value.get("since").and_then(Value::as_u64).filter(|since| *since <= LAST_MS);
    match (value, since, limit) {
        (Value::Null, ..) => None,
        (_, Some(since), Some(limit)) => Some(Replay::From { since, limit }),
        _ => Some(Replay::Invalid),
    }
}

/// The token of a join or of an `access_token` push.
pub fn pushed_token(payload: &Value) -> Option<String> {
    let token = payload.get("access_token")?.as_str()?;
    (!token.starts_with("sb_")).then(|| token.into())
}

/// The client's key, or a random one.
fn presence_key(key: Option<&Value>) -> String {
    match key.and_then(Value::as_str) {
        Some(key) if !key.is_empty() => key.into(),
        _ => uuid::Uuid::new_v4().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_wrong_type_count_as_missing() {
        let wrong = json!({"config": {"private": "true", "presence": [], "postgres_changes": {}}});
        let config = JoinConfig::parse(&wrong, "t").unwrap();
        assert_eq!((config.visibility, config.presence_key), (Visibility::Public, None));
        assert!(config.postgres_changes.is_empty() && !config.ack);
        let right = json!({"config": {"private": true, "broadcast": {"ack": true}}, "access_token": "a.b.c"});
        let config = JoinConfig::parse(&right, "t").unwrap();
        assert!(config.visibility == Visibility::Private && config.ack && !config.own);
        assert_eq!(config.access_token.as_deref(), Some("a.b.c"));
        assert_eq!(JoinConfig::parse(&json!({"access_token": "sb_publishable_x"}), "t").unwrap().access_token, None);
    }

    #[test]
    fn a_config_that_is_not_an_object_is_refused() {
        for wrong in [json!({"config": "x"}), json!({"config": 1}), json!({"config": {"broadcast": "x"}})] {
            assert_eq!(JoinConfig::parse(&wrong, "t"), Err(WrongType), "{wrong}");
        }
        assert!(JoinConfig::parse(&json!({"config": null}), "t").is_ok());
    }

    #[test]
    fn a_join_without_config_subscribes_to_the_table_of_its_topic() {
        let config = JoinConfig::parse(&json!({}), "project:1:x=eq.2").unwrap();
        assert_eq!(config.postgres_changes, [json!({"schema": "project", "table": "1", "filter": "x=eq.2"})]);
        assert!(JoinConfig::parse(&json!({"config": {}}), "project:1").unwrap().postgres_changes.is_empty());
    }
}
