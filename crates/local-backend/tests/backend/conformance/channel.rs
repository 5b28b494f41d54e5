use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::target::{PATIENCE, Scene, Who};

/// A private channel that has joined and is streamed to.
pub struct Channel {
    socket: WebSocketStream<reqwest::Upgraded>,
    scene: Scene,
    topic: String,
    vsn: &'static str,
    reference: u64,
}

/// One frame, whatever the protocol.
struct Frame {
    join_ref: Value,
    reference: Value,
    topic: String,
    event: String,
    payload: Value,
}

impl Channel {
    /// Joins `project:<id>` and `suffix`; a refusal's reason where it is refused.
    pub async fn join(scene: &Scene, who: Who, vsn: &'static str, suffix: &str) -> Result<Channel, String> {
        let token = scene.token(who).unwrap_or_else(|| scene.anon_key().to_owned());
        Channel::join_with(scene, &token, vsn, suffix, json!([])).await
    }

    /// The same with any token, and with a wish for rows of tables.
    pub async fn join_with(
        scene: &Scene,
        token: &str,
        vsn: &'static str,
        suffix: &str,
        rows: Value,
    ) -> Result<Channel, String> {
        let socket = open(scene, vsn).await;
        let topic = format!("realtime:project:{}{suffix}", scene.project());
        let mut channel = Channel { socket, scene: scene.clone(), topic, vsn, reference: 0 };
        let config = json!({
            "broadcast": {"ack": true, "self": false, "replication_ready": true},
            "presence": {"key": "", "enabled": false}, "postgres_changes": rows, "private": true,
        });
        let reference = channel.push("phx_join", json!({"config": config, "access_token": token})).await;
        let reply = channel.frame(|frame| frame.event == "phx_reply" && frame.reference == reference).await;
        if reply.payload["status"] != "ok" {
            return Err(reply.payload["response"]["reason"].as_str().unwrap_or_default().to_owned());
        }
        // Before this, what the database sends is lost.
        channel.frame(|frame| frame.event == "system" && frame.payload["extension"] == "system").await;
        if rows != json!([]) {
            channel.frame(|frame| frame.event == "system" && frame.payload["extension"] == "postgres_changes").await;
        }
        Ok(channel)
    }

    /// The next event of the project, recorded: its name and payload.
    pub async fn event(&mut self) -> (String, Value) {
        let payload = self.frame(|frame| frame.event == "broadcast").await.payload;
        self.scene.note(json!({"hears": payload["event"], "payload": payload["payload"]}));
        (payload["event"].as_str().unwrap_or_default().to_owned(), payload["payload"].clone())
    }

    /// The next row of a table.
    pub async fn row(&mut self) -> Value {
        self.frame(|frame| frame.event == "postgres_changes").await.payload["data"].clone()
    }

    /// Broadcasts, and waits for the reply that a sender gets who may.
    pub async fn send(&mut self, event: &str, payload: Value) -> Value {
        let reference = self.cast(event, payload).await;
        let reply = self.frame(|frame| frame.event == "phx_reply" && frame.reference == reference).await;
        reply.payload["status"].clone()
    }

    /// Pushes any event and returns the payload of its reply.
    pub async fn request(&mut self, event: &str, payload: Value) -> Value {
        let reference = self.push(event, payload).await;
        self.frame(|frame| frame.event == "phx_reply" && frame.reference == reference).await.payload
    }

    /// The next frame of this event.
    pub async fn next(&mut self, event: &str) -> Value {
        self.frame(|frame| frame.event == event).await.payload
    }

    /// Joins with any payload; the reply's payload and join_ref.
    pub async fn join_raw(scene: &Scene, vsn: &'static str, topic: &str, payload: Value) -> (Channel, Value, Value) {
        let socket = open(scene, vsn).await;
        let mut channel = Channel { socket, scene: scene.clone(), topic: topic.into(), vsn, reference: 0 };
        let reference = channel.push("phx_join", payload).await;
        let reply = channel.frame(|frame| frame.event == "phx_reply" && frame.reference == reference).await;
        (channel, reply.payload, reply.join_ref)
    }

    /// Pushes to a topic that was not joined; the reply's payload and join_ref.
    pub async fn unmatched(scene: &Scene, vsn: &'static str) -> (Value, Value) {
        let socket = open(scene, vsn).await;
        let topic = format!("realtime:project:{}", scene.project());
        let mut channel = Channel { socket, scene: scene.clone(), topic, vsn, reference: 0 };
        let reference = channel.push("broadcast", json!({"type": "broadcast", "event": "x", "payload": {}})).await;
        let reply = channel.frame(|frame| frame.event == "phx_reply" && frame.reference == reference).await;
        (reply.payload, reply.join_ref)
    }

    /// Broadcasts without waiting for a reply.
    pub async fn cast(&mut self, event: &str, payload: Value) -> Value {
        self.push("broadcast", json!({"type": "broadcast", "event": event, "payload": payload})).await
    }

    /// Sends a heartbeat. No reply to an earlier push and no broadcast may come before its answer.
    pub async fn heartbeat_without_replies(&mut self) {
        let frame = self.heartbeat(|frame| frame.event == "phx_reply").await;
        assert_eq!(frame, "phoenix", "a reply to an earlier push");
    }

    /// Sends a heartbeat. No broadcast may come before its answer.
    pub async fn heartbeat_without_broadcasts(&mut self) {
        let frame = self.heartbeat(|frame| frame.event == "broadcast" || frame.topic == "phoenix").await;
        assert_eq!(frame, "phoenix", "an unexpected broadcast");
    }

    /// Sends a heartbeat; the topic of the next frame of this kind.
    async fn heartbeat(&mut self, wanted: impl Fn(&Frame) -> bool) -> String {
        let topic = std::mem::replace(&mut self.topic, "phoenix".into());
        self.push("heartbeat", json!({})).await;
        self.topic = topic;
        self.frame(wanted).await.topic
    }

    async fn push(&mut self, event: &str, payload: Value) -> Value {
        self.reference += 1;
        let (reference, topic) = (json!(self.reference.to_string()), &self.topic);
        let join_ref = if topic == "phoenix" { Value::Null } else { json!("1") };
        let frame = match self.vsn {
            "1.0.0" => {
                json!({"topic": topic, "event": event, "payload": payload, "ref": reference, "join_ref": join_ref})
            }
            _ => json!([join_ref, reference, topic, event, payload]),
        };
        self.socket.send(Message::text(frame.to_string())).await.expect("the frame is sent");
        reference
    }

    /// The next frame of that kind; what comes before it is passed over.
    async fn frame(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let next = async {
            loop {
                let message = self.socket.next().await.expect("the socket is open").expect("the frame is whole");
                let frame = match message {
                    Message::Text(text) => text_frame(&text),
                    Message::Binary(bytes) => binary_broadcast(&bytes),
                    _ => continue,
                };
                if wanted(&frame) {
                    return frame;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a frame in time")
    }
}

/// Opens a websocket through the HTTP client, which knows TLS where there is need of it.
async fn open(scene: &Scene, vsn: &str) -> WebSocketStream<reqwest::Upgraded> {
    let url = format!("{}/realtime/v1/websocket", scene.url());
    let request = scene.http().get(url).query(&[("apikey", scene.anon_key()), ("vsn", vsn)]);
    let request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
    let request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, generate_key());
    let response = request.send().await.expect("an answer to the upgrade");
    assert_eq!(response.status(), 101, "the upgrade");
    let upgraded = response.upgrade().await.expect("the connection is upgraded");
    WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await
}

fn text_frame(text: &str) -> Frame {
    let frame: Value = serde_json::from_str(text).expect("a frame is JSON");
    let at = |name: &str, index: usize| if frame.is_array() { frame[index].clone() } else { frame[name].clone() };
    let event = at("event", 3).as_str().expect("an event").to_owned();
    Frame {
        join_ref: at("join_ref", 0),
        reference: at("ref", 1),
        topic: at("topic", 2).as_str().unwrap_or_default().to_owned(),
        event,
        payload: at("payload", 4),
    }
}

/// `04 | topic_len | event_len | meta_len | encoding ‖ topic ‖ event ‖ meta ‖ payload`: how protocol 2.0.0 has what the
/// database sends.
fn binary_broadcast(bytes: &[u8]) -> Frame {
    assert_eq!((bytes[0], bytes[4]), (4, 1), "a broadcast in JSON");
    let [topic, event, meta] = [1, 2, 3].map(|at| usize::from(bytes[at]));
    let (event, rest) = bytes[5 + topic..].split_at(event);
    let payload: Value = serde_json::from_slice(&rest[meta..]).expect("a payload is JSON");
    let payload = json!({"type": "broadcast", "event": String::from_utf8_lossy(event), "payload": payload});
    Frame { join_ref: Value::Null, reference: Value::Null, topic: String::new(), event: "broadcast".into(), payload }
}
