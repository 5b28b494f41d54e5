mod joining;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::Realtime;
use super::changes::Subscribed;
use super::frame::{Body, Incoming, Payload, Vsn, encode};
use super::hub::{Cast, CastBody, Topic};
use super::join::{JoinConfig, pushed_token};
use super::queue::Queue;
use crate::token::TokenError;

use joining::expiry;

/// Channels of one socket (the hosted service's quota).
const MAX_CHANNELS: usize = 100;

/// The channels of one socket: what each incoming frame leads to. Frames go out by the queue.
pub struct Channels {
    realtime: Arc<Realtime>,
    vsn: Vsn,
    queue: Queue,
    /// The key that the socket was opened with: the token of a join that brings none.
    apikey: String,
    joined: HashMap<String, Channel>,
}

struct Channel {
    id: u64,
    join_ref: Value,
    topic: Topic,
    config: JoinConfig,
    token: String,
    expires_at: Instant,
    /// Asked once: a refusal stays for the channel's life.
    may_send: bool,
    /// What is still to be said to it, and when.
    announcements: Vec<(Instant, Announcement)>,
}

enum Announcement {
    Replication,
    Changes(Result<Subscribed, String>),
}

/// A refusal that the real server is in no hurry to tell; the socket stands still meanwhile.
pub struct Late {
    pub after: Duration,
    pub frame: Message,
}

impl Channels {
    pub fn new(realtime: Arc<Realtime>, vsn: Vsn, queue: Queue, apikey: String) -> Channels {
        Channels { realtime, vsn, queue, apikey, joined: HashMap::new() }
    }

    /// Answers one frame, or tells what is to be answered late.
    pub async fn handle(&mut self, frame: Incoming) -> Option<Late> {
        match (frame.topic.as_str(), frame.event.as_str()) {
            ("phoenix", "heartbeat") => self.reply(&frame, &frame.join_ref, "ok", "{}"),
            (topic, "phx_join") if topic.starts_with("realtime:") => return self.join(&frame).await,
            _ => self.push(&frame).await,
        }
        None
    }

    /// When [`Channels::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Instant> {
        let times = |channel: &Channel| {
            let first = channel.announcements.iter().map(|(at, _)| *at).min();
            first.map_or(channel.expires_at, |at| at.min(channel.expires_at))
        };
        self.joined.values().map(times).min()
    }

    /// Closes the channels whose token has expired and says what is due.
    pub fn tick(&mut self, now: Instant) {
        let expired = |channel: &&Channel| channel.expires_at <= now;
        for name in self.joined.values().filter(expired).map(|channel| channel.topic.name.clone()).collect::<Vec<_>>() {
            self.end_with_error(&name, "Token has expired 0 seconds ago");
        }
        for channel in self.joined.values_mut() {
            let (due, later) = std::mem::take(&mut channel.announcements).into_iter().partition(|(at, _)| *at <= now);
            channel.announcements = later;
            let due: Vec<(Instant, Announcement)> = due;
            for (_, announcement) in due {
                let (extension, outcome) = match announcement {
                    Announcement::Replication => ("system", Ok("Replication connection established")),
                    Announcement::Changes(Err(error)) => ("postgres_changes", Err(error)),
                    Announcement::Changes(Ok(subscribed)) => {
                        let (vsn, queue) = (self.vsn, self.queue.clone());
                        self.realtime.changes.subscribe(channel.id, &channel.topic.name, vsn, queue, subscribed);
                        ("postgres_changes", Ok("Subscribed to PostgreSQL"))
                    }
                };
                let payload = system(&outcome, extension, &channel.topic);
                self.queue.push(encode(
                    self.vsn,
                    &channel.join_ref,
                    &Value::Null,
                    &channel.topic.name,
                    "system",
                    &payload,
                ));
            }
        }
    }

    /// What a reloaded tenant tells each channel.
    pub fn disconnect(&self) {
        let payload = json!({"message": "Server requested disconnect", "status": "ok", "extension": "system"});
        for name in self.joined.keys() {
            self.queue.push(encode(self.vsn, &Value::Null, &Value::Null, name, "system", &payload.to_string()));
        }
    }

    async fn push(&mut self, frame: &Incoming) {
        let Some(channel) = self.joined.get(&frame.topic) else {
            match frame.event.as_str() {
                "phx_leave" => self.reply(frame, &frame.join_ref, "ok", "{}"),
                _ => self.reply(frame, &frame.join_ref, "error", r#"{"reason":"unmatched topic"}"#),
            }
            return;
        };
        if !frame.join_ref.is_null() && frame.join_ref != channel.join_ref {
            return;
        }
        match (frame.event.as_str(), &frame.payload) {
            ("phx_leave", _) => self.leave(frame),
            ("access_token", Payload::Json(payload)) => self.new_token(&frame.topic, payload).await,
            ("broadcast", payload) => self.broadcast(frame, payload),
            ("presence", Payload::Json(payload)) => self.presence(frame, payload),
            _ => {}
        }
    }

    fn leave(&mut self, frame: &Incoming) {
        let Some(channel) = self.joined.remove(&frame.topic) else { return };
        self.forget(&channel);
        self.reply(frame, &channel.join_ref, "ok", "{}");
        self.close(&channel);
    }

    /// Success has no reply, and the same token again does nothing.
    async fn new_token(&mut self, topic: &str, payload: &Value) {
        let (Some(token), Some(channel)) = (pushed_token(payload), self.joined.get_mut(topic)) else { return };
        if token == channel.token {
            return;
        }
        let name = topic.trim_start_matches("realtime:");
        let refusal = match self.realtime.keys.verify_live(&token) {
            Ok(claims) if channel.topic.private && !self.realtime.policies.may_join(&claims, name).await => {
                no_permission(name)
            }
            Ok(claims) => {
                channel.token = token;
                channel.expires_at = expiry(&claims, Instant::now());
                return self.realtime.hub.wake(&channel.topic, channel.id);
            }
            Err(TokenError::Signature | TokenError::Signer) => ":signature_error".into(),
            Err(error) => error.to_string(),
        };
        self.end_with_error(topic, &refusal);
    }

    fn broadcast(&mut self, frame: &Incoming, payload: &Payload) {
        let Some(channel) = self.joined.get(&frame.topic).filter(|channel| channel.may_send) else { return };
        let (cast, size) = match payload {
            Payload::Json(payload) => {
                let text = payload.to_string();
                let size = text.len();
                (Cast { event: None, body: CastBody::Text(text) }, size)
            }
            Payload::Broadcast { event, body } => {
                let size = match body {
                    Body::Json(text) => text.len(),
                    Body::Bytes(bytes) => bytes.len(),
                };
                (Cast { event: Some(event.clone()), body: CastBody::Push(body.clone()) }, size)
            }
        };
        if size > self.realtime.broadcast_limit {
            if channel.config.ack {
                self.reply(frame, &channel.join_ref, "error", r#""payload_size_exceeded""#);
            }
            return;
        }
        let crashes = matches!(payload, Payload::Json(payload) if !payload.is_object());
        let except = (crashes || !channel.config.own).then_some(channel.id);
        self.realtime.hub.passed_on(&channel.topic, &cast, except);
        if crashes {
            let join_ref = channel.join_ref.clone();
            self.queue.push(encode(self.vsn, &join_ref, &join_ref, &frame.topic, "phx_error", "{}"));
            if let Some(channel) = self.joined.remove(&frame.topic) {
                self.forget(&channel);
            }
        } else if channel.config.ack {
            self.reply(frame, &channel.join_ref, "ok", "{}");
        }
    }

    fn presence(&mut self, frame: &Incoming, payload: &Value) {
        let Some(channel) = self.joined.get(&frame.topic) else { return };
        let Some(key) = channel.config.presence.as_ref().filter(|_| channel.may_send) else { return };
        self.reply(frame, &channel.join_ref, "ok", "{}");
        match payload["event"].as_str() {
            Some("track") => self.realtime.presence.track(&channel.topic, channel.id, key, &payload["payload"]),
            Some("untrack") => self.realtime.presence.untrack(&channel.topic, channel.id),
            _ => {}
        }
    }

    fn end_with_error(&mut self, topic: &str, message: &str) {
        let Some(channel) = self.joined.remove(topic) else { return };
        self.forget(&channel);
        let payload = system(&Err(message), "system", &channel.topic);
        self.queue.push(encode(self.vsn, &channel.join_ref, &Value::Null, topic, "system", &payload));
        self.close(&channel);
    }

    fn close(&self, channel: &Channel) {
        let join_ref = &channel.join_ref;
        self.queue.push(encode(self.vsn, join_ref, join_ref, &channel.topic.name, "phx_close", "{}"));
    }

    fn forget(&self, channel: &Channel) {
        self.realtime.hub.leave(&channel.topic, channel.id);
        self.realtime.changes.unsubscribe(channel.id);
        self.realtime.presence.leave(&channel.topic, channel.id);
    }

    fn reply(&self, frame: &Incoming, join_ref: &Value, status: &str, response: &str) {
        self.queue.push(self.reply_frame(frame, join_ref, status, response));
    }

    fn reply_frame(&self, frame: &Incoming, join_ref: &Value, status: &str, response: &str) -> Message {
        let payload = format!(r#"{{"status":"{status}","response":{response}}}"#);
        encode(self.vsn, join_ref, &frame.reference, &frame.topic, "phx_reply", &payload)
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for channel in self.joined.values() {
            self.forget(channel);
        }
    }
}

fn no_permission(name: &str) -> String {
    format!("You do not have permissions to read from this Channel topic: {name}")
}

fn system<E: AsRef<str>>(outcome: &Result<&str, E>, extension: &str, topic: &Topic) -> String {
    let (message, status) = match outcome {
        Ok(message) => (*message, "ok"),
        Err(message) => (message.as_ref(), "error"),
    };
    let channel = topic.name.trim_start_matches("realtime:");
    json!({"message": message, "status": status, "extension": extension, "channel": channel}).to_string()
}
