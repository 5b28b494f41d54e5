use serde::Serialize;
use serde_json::Value;

use super::{PHOENIX, ProtocolVersion};

/// A message to the server. It knows the serializer of its socket, so that the caller only encodes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// The serializer.
    pub protocol: ProtocolVersion,
    /// The wire topic, `realtime:…` or `phoenix`.
    pub topic: String,
    /// The join that the message belongs to; none for a heartbeat.
    pub join_ref: Option<u64>,
    /// Returned in the reply.
    pub reference: u64,
    /// The message itself.
    pub push: Push,
}

/// The kind and content of a [`ClientMessage`].
#[derive(Debug, Clone, PartialEq)]
pub enum Push {
    /// `phx_join`, with the token as `access_token` (left out where it is empty).
    Join(JoinConfig),
    /// `heartbeat`.
    Heartbeat,
    /// `access_token`: a renewed token for a joined channel. Success has no reply.
    AccessToken,
    /// `phx_leave`.
    Leave,
    /// `broadcast`.
    Broadcast {
        /// The event inside the broadcast.
        event: String,
        /// Its payload, a JSON object.
        payload: Value,
    },
}

/// The config of a `phx_join`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinConfig {
    /// A private channel.
    pub private: bool,
    /// Ask for the system message that is sent when broadcasts from the database arrive.
    pub replication_ready: bool,
    /// Rows of `public.project_files` of this project as nudges.
    pub postgres_changes: Option<String>,
}

impl ClientMessage {
    /// A heartbeat.
    pub fn heartbeat(protocol: ProtocolVersion, reference: u64) -> ClientMessage {
        ClientMessage { protocol, topic: PHOENIX.into(), join_ref: None, reference, push: Push::Heartbeat }
    }

    /// The text frame, with `token` where the message needs one. The result holds the token: never log it.
    pub fn encode(&self, token: &str) -> String {
        match &self.push {
            Push::Join(config) => self.envelope("phx_join", &Join::new(config, token)),
            Push::Heartbeat => self.envelope("heartbeat", &Empty {}),
            Push::AccessToken => self.envelope("access_token", &AccessToken { access_token: token }),
            Push::Leave => self.envelope("phx_leave", &Empty {}),
            Push::Broadcast { event, payload } => {
                self.envelope("broadcast", &Broadcast { kind: "broadcast", event, payload })
            }
        }
    }

    fn envelope<T: Serialize>(&self, event: &str, payload: &T) -> String {
        let reference = self.reference.to_string();
        let join_ref = self.join_ref.map(|join_ref| join_ref.to_string());
        let encoded = match self.protocol {
            ProtocolVersion::V1 => {
                serde_json::to_string(&Object { topic: &self.topic, event, payload, reference, join_ref })
            }
            ProtocolVersion::V2 => serde_json::to_string(&(join_ref, reference, &self.topic, event, payload)),
        };
        // Only maps whose keys are not strings can fail, and there are none.
        encoded.unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Object<'a, T> {
    topic: &'a str,
    event: &'a str,
    payload: &'a T,
    #[serde(rename = "ref")]
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_ref: Option<String>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct AccessToken<'a> {
    access_token: &'a str,
}

#[derive(Serialize)]
struct Broadcast<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    event: &'a str,
    payload: &'a Value,
}

#[derive(Serialize)]
struct Join<'a> {
    config: Config<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    access_token: &'a str,
}

// A config with a wrong type joins a PUBLIC channel in silence, hence types for all of it.
#[derive(Serialize)]
struct Config<'a> {
    broadcast: BroadcastConfig,
    presence: PresenceConfig,
    postgres_changes: Vec<PostgresChanges<'a>>,
    private: bool,
}

#[derive(Serialize)]
struct BroadcastConfig {
    ack: bool,
    #[serde(rename = "self")]
    own: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replication_ready: bool,
}

#[derive(Serialize)]
struct PresenceConfig {
    key: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
struct PostgresChanges<'a> {
    event: &'static str,
    schema: &'static str,
    table: &'static str,
    filter: &'a str,
}

impl<'a> Join<'a> {
    fn new(config: &'a JoinConfig, token: &'a str) -> Join<'a> {
        let rows = config.postgres_changes.iter().map(|filter| PostgresChanges {
            event: "*",
            schema: "public",
            table: "project_files",
            filter,
        });
        Join {
            config: Config {
                broadcast: BroadcastConfig { ack: false, own: false, replication_ready: config.replication_ready },
                presence: PresenceConfig { key: "", enabled: false },
                postgres_changes: rows.collect(),
                private: config.private,
            },
            access_token: token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "realtime:project:11111111-1111-4111-8111-111111111111";

    fn message(protocol: ProtocolVersion, push: Push) -> ClientMessage {
        ClientMessage { protocol, topic: TOPIC.into(), join_ref: Some(1), reference: 1, push }
    }

    #[test]
    fn a_join_reads_as_the_official_client_writes_it() {
        let join =
            |private, replication_ready| Push::Join(JoinConfig { private, replication_ready, postgres_changes: None });
        assert_eq!(
            message(ProtocolVersion::V1, join(true, false)).encode("<jwt>"),
            r#"{"topic":"realtime:project:11111111-1111-4111-8111-111111111111","event":"phx_join","payload":{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"postgres_changes":[],"private":true},"access_token":"<jwt>"},"ref":"1","join_ref":"1"}"#
        );
        assert_eq!(
            message(ProtocolVersion::V1, join(true, true)).encode("<jwt>"),
            r#"{"topic":"realtime:project:11111111-1111-4111-8111-111111111111","event":"phx_join","payload":{"config":{"broadcast":{"ack":false,"self":false,"replication_ready":true},"presence":{"key":"","enabled":false},"postgres_changes":[],"private":true},"access_token":"<jwt>"},"ref":"1","join_ref":"1"}"#
        );
        assert_eq!(
            message(ProtocolVersion::V2, join(false, false)).encode(""),
            r#"["1","1","realtime:project:11111111-1111-4111-8111-111111111111","phx_join",{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"postgres_changes":[],"private":false}}]"#
        );
    }

    #[test]
    fn rows_of_the_table_are_asked_for_by_project() {
        let filter = Some("project_id=eq.11111111-1111-4111-8111-111111111111".to_owned());
        let join = Push::Join(JoinConfig { private: true, replication_ready: false, postgres_changes: filter });
        assert!(message(ProtocolVersion::V2, join).encode("").contains(
            r#""postgres_changes":[{"event":"*","schema":"public","table":"project_files","filter":"project_id=eq.11111111-1111-4111-8111-111111111111"}]"#
        ));
    }

    #[test]
    fn the_small_messages_read_as_recorded() {
        assert_eq!(
            ClientMessage::heartbeat(ProtocolVersion::V1, 2).encode(""),
            r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"2"}"#
        );
        assert_eq!(
            ClientMessage::heartbeat(ProtocolVersion::V2, 2).encode(""),
            r#"[null,"2","phoenix","heartbeat",{}]"#
        );
        let mut push = message(ProtocolVersion::V1, Push::AccessToken);
        push.reference = 2;
        assert_eq!(
            push.encode("<jwt>"),
            r#"{"topic":"realtime:project:11111111-1111-4111-8111-111111111111","event":"access_token","payload":{"access_token":"<jwt>"},"ref":"2","join_ref":"1"}"#
        );
        push.push = Push::Leave;
        assert_eq!(
            push.encode("<jwt>"),
            r#"{"topic":"realtime:project:11111111-1111-4111-8111-111111111111","event":"phx_leave","payload":{},"ref":"2","join_ref":"1"}"#
        );
        push.push = Push::Broadcast { event: "preview:status".into(), payload: serde_json::json!({"p": 1}) };
        assert_eq!(
            push.encode(""),
            r#"{"topic":"realtime:project:11111111-1111-4111-8111-111111111111","event":"broadcast","payload":{"type":"broadcast","event":"preview:status","payload":{"p":1}},"ref":"2","join_ref":"1"}"#
        );
    }
}
