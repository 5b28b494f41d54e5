mod joining;
mod pushes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::changes::SubscribedChanges;
use super::frame::{Incoming, Protocol, encode};
use super::hub::Topic;
use super::join::JoinConfig;
use super::outbox::FrameSender;
use super::{Realtime, Visibility};
use crate::token::Claims;

/// Most channels of one socket (the quota of the hosted service).
const MAX_CHANNELS: usize = 100;

/// The channels of one socket. Answers and messages are queued in `frames`.
pub struct Channels {
    realtime: Arc<Realtime>,
    protocol: Protocol,
    frames: FrameSender,
    /// The key that the socket was opened with: the token of a join without one.
    apikey: String,
    joined: HashMap<String, Channel>,
}

struct Channel {
    id: u64,
    join_ref: Value,
    topic: Topic,
    config: JoinConfig,
    token: String,
    claims: Claims,
    expires_at: Instant,
    /// Checked at the join; a refusal stays for the channel's life.
    may_broadcast: bool,
    /// Checked at the first presence push.
    may_track: Option<bool>,
    notices: Vec<Notice>,
}

/// A message that a channel gets later.
struct Notice {
    at: Instant,
    content: NoticeContent,
}

enum NoticeContent {
    ReplicationReady,
    /// The stream did not start in time: the channel is closed.
    ReplicationFailed,
    Changes(Result<SubscribedChanges, String>),
}

/// The answer to a refused join, which the real server sends late. The socket is blocked meanwhile.
pub struct DelayedReply {
    pub after: Duration,
    pub frame: Message,
    pub then: AfterReply,
}

/// What follows a delayed reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterReply {
    Continue,
    /// The socket is closed with this code.
    Close(u16),
}

/// The `status` of a reply or of a `system` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Error,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Error => "error",
        }
    }
}

impl Channels {
    pub fn new(realtime: Arc<Realtime>, protocol: Protocol, frames: FrameSender, apikey: String) -> Channels {
        Channels { realtime, protocol, frames, apikey, joined: HashMap::new() }
    }

    /// Answers one frame, or returns the reply that is sent later.
    pub async fn handle(&mut self, frame: Incoming) -> Option<DelayedReply> {
        match (frame.topic.as_str(), frame.event.as_str()) {
            ("phoenix", "heartbeat") => self.reply(&frame, &frame.join_ref, Status::Ok, &json!({})),
            (topic, "phx_join") if topic.starts_with("realtime:") => return self.join(&frame).await,
            _ => self.push(&frame).await,
        }
        None
    }

    /// The time at which [`Channels::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        let times = self.joined.values().flat_map(|channel| {
            channel.notices.iter().map(|notice| notice.at).chain(std::iter::once(channel.expires_at))
        });
        times.min()
    }

    /// Closes channels whose token has expired and sends the notices that are due.
    pub fn tick(&mut self, now: Instant) {
        let expired = |channel: &&Channel| channel.expires_at <= now;
        for name in self.joined.values().filter(expired).map(|channel| channel.topic.name.clone()).collect::<Vec<_>>() {
            self.close_with_error(&name, "Token has expired 0 seconds ago");
        }
        let mut failed = Vec::new();
        for channel in self.joined.values_mut() {
            let (due, later) = std::mem::take(&mut channel.notices).into_iter().partition(|notice| notice.at <= now);
            channel.notices = later;
            let due: Vec<Notice> = due;
            for notice in due {
                let (extension, status, message) = match notice.content {
                    NoticeContent::ReplicationReady => {
                        ("system", Status::Ok, "Replication connection established".to_owned())
                    }
                    NoticeContent::ReplicationFailed => {
                        failed.push(channel.topic.name.clone());
                        continue;
                    }
                    NoticeContent::Changes(Err(error)) => ("postgres_changes", Status::Error, error),
                    NoticeContent::Changes(Ok(subscribed)) => {
                        let (protocol, frames) = (self.protocol, self.frames.clone());
                        self.realtime.changes.subscribe(channel.id, &channel.topic.name, protocol, frames, subscribed);
                        ("postgres_changes", Status::Ok, "Subscribed to PostgreSQL".to_owned())
                    }
                };
                let payload = system(status, &message, extension, &channel.topic);
                self.frames.push(encode(
                    self.protocol,
                    &channel.join_ref,
                    &Value::Null,
                    &channel.topic.name,
                    "system",
                    &payload,
                ));
            }
        }
        for name in failed {
            self.close_with_error(&name, "Replication connection was not established in time");
        }
    }

    /// Sends each channel the message of a reloaded tenant.
    pub fn announce_reload(&self) {
        let payload = json!({"message": "Server requested disconnect", "status": "ok", "extension": "system"});
        for name in self.joined.keys() {
            self.frames.push(encode(self.protocol, &Value::Null, &Value::Null, name, "system", &payload.to_string()));
        }
    }

    /// Ends every channel as after an exception in its process.
    pub fn crash_all(&mut self) {
        for name in self.joined.keys().cloned().collect::<Vec<_>>() {
            self.crash(&name);
        }
    }

    /// Ends a channel as after an exception in its process.
    fn crash(&mut self, topic: &str) {
        let Some(channel) = self.joined.remove(topic) else { return };
        self.unregister(&channel);
        let payload = json!({"reason": "channel_crash"}).to_string();
        self.frames.push(encode(self.protocol, &channel.join_ref, &channel.join_ref, topic, "phx_error", &payload));
    }

    fn close_with_error(&mut self, topic: &str, message: &str) {
        let Some(channel) = self.joined.remove(topic) else { return };
        self.unregister(&channel);
        let payload = system(Status::Error, message, "system", &channel.topic);
        self.frames.push(encode(self.protocol, &channel.join_ref, &Value::Null, topic, "system", &payload));
        self.close(&channel);
    }

    fn close(&self, channel: &Channel) {
        let join_ref = &channel.join_ref;
        self.frames.push(encode(self.protocol, join_ref, join_ref, &channel.topic.name, "phx_close", "{}"));
    }

    fn unregister(&self, channel: &Channel) {
        self.realtime.hub.leave(&channel.topic, channel.id);
        self.realtime.changes.unsubscribe(channel.id);
        self.realtime.presence.leave(&channel.topic, channel.id);
    }

    fn reply(&self, frame: &Incoming, join_ref: &Value, status: Status, response: &Value) {
        self.frames.push(self.reply_frame(frame, join_ref, status, response));
    }

    fn reply_frame(&self, frame: &Incoming, join_ref: &Value, status: Status, response: &Value) -> Message {
        let payload = format!(r#"{{"status":"{}","response":{response}}}"#, status.as_str());
        encode(self.protocol, join_ref, &frame.reference, &frame.topic, "phx_reply", &payload)
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for channel in self.joined.values() {
            self.unregister(channel);
        }
    }
}

impl Channel {
    /// The topic without `realtime:`.
    fn name(&self) -> &str {
        without_prefix(&self.topic.name)
    }

    fn is_private(&self) -> bool {
        self.topic.visibility == Visibility::Private
    }
}

/// A topic without `realtime:`.
fn without_prefix(topic: &str) -> &str {
    topic.strip_prefix("realtime:").unwrap_or(topic)
}

fn no_permission(name: &str) -> String {
    format!("You do not have permissions to read from this Channel topic: {name}")
}

/// The payload of a `system` message.
fn system(status: Status, message: &str, extension: &str, topic: &Topic) -> String {
    let channel = without_prefix(&topic.name);
    json!({"message": message, "status": status.as_str(), "extension": extension, "channel": channel}).to_string()
}
