use serde_json::{Value, json};
use tokio::time::Instant;

use super::joining::expiry;
use super::{Channels, Status, no_permission};
use crate::realtime::frame::{Body, Incoming, Payload, encode};
use crate::realtime::hub::{Broadcast, BroadcastBody};
use crate::realtime::join::pushed_token;
use crate::token::TokenError;

impl Channels {
    /// Answers every frame that is neither a heartbeat nor a join.
    pub(super) async fn push(&mut self, frame: &Incoming) {
        let Some(channel) = self.joined.get(&frame.topic) else {
            match frame.event.as_str() {
                "phx_leave" => self.reply(frame, &frame.join_ref, Status::Ok, &json!({})),
                _ => self.reply(frame, &Value::Null, Status::Error, &json!({"reason": "unmatched topic"})),
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
            ("presence", Payload::Json(payload)) => self.presence(frame, payload).await,
            _ => {}
        }
    }

    fn leave(&mut self, frame: &Incoming) {
        let Some(channel) = self.joined.remove(&frame.topic) else { return };
        self.unregister(&channel);
        self.reply(frame, &channel.join_ref, Status::Ok, &json!({}));
        self.close(&channel);
    }

    /// A valid token gets no reply, and the same token again has no effect.
    async fn new_token(&mut self, topic: &str, payload: &Value) {
        let (Some(token), Some(channel)) = (pushed_token(payload), self.joined.get_mut(topic)) else { return };
        if token == channel.token {
            return;
        }
        let refusal = match self.realtime.keys.verify_live(&token) {
            Ok(claims) if channel.is_private() && !self.realtime.policies.may_join(&claims, channel.name()).await => {
                no_permission(channel.name())
            }
            Ok(claims) => {
                channel.token = token;
                channel.expires_at = expiry(&claims, Instant::now());
                channel.claims = claims;
                return self.realtime.hub.end_stall(&channel.topic, channel.id);
            }
            Err(TokenError::Signature | TokenError::Signer) => ":signature_error".into(),
            Err(error) => error.to_string(),
        };
        self.close_with_error(topic, &refusal);
    }

    /// Without the right there is no answer, with or without `ack`.
    fn broadcast(&mut self, frame: &Incoming, payload: &Payload) {
        let Some(channel) = self.joined.get(&frame.topic).filter(|channel| channel.may_broadcast) else { return };
        let (broadcast, size) = match payload {
            Payload::Json(payload) => {
                let text = payload.to_string();
                let size = text.len();
                (Broadcast { event: None, body: BroadcastBody::Text(text) }, size)
            }
            Payload::Broadcast { event, body } => {
                let size = match body {
                    Body::Json(text) => text.len(),
                    Body::Bytes(bytes) => bytes.len(),
                };
                (Broadcast { event: Some(event.clone()), body: BroadcastBody::Push(body.clone()) }, size)
            }
        };
        if size > self.realtime.settings.broadcast_limit {
            if channel.config.ack {
                self.reply(frame, &channel.join_ref, Status::Error, &json!("payload_size_exceeded"));
            }
            return;
        }
        // The real server's channel process crashes on a payload that is not an object, after it was sent.
        let crashes = matches!(payload, Payload::Json(payload) if !payload.is_object());
        let except = (crashes || !channel.config.own).then_some(channel.id);
        self.realtime.hub.deliver_from_client(&channel.topic, &broadcast, except);
        if crashes {
            self.crash(&frame.topic);
        } else if channel.config.ack {
            self.reply(frame, &channel.join_ref, Status::Ok, &json!({}));
        }
    }

    async fn presence(&mut self, frame: &Incoming, payload: &Value) {
        let Some(channel) = self.joined.get_mut(&frame.topic) else { return };
        let event = payload.get("event").and_then(Value::as_str).map(str::to_ascii_lowercase);
        let (status, response) = match event.as_deref() {
            None => (Status::Ok, json!({})),
            Some("untrack") => {
                self.realtime.presence.untrack(&channel.topic, channel.id);
                (Status::Ok, json!({}))
            }
            Some("track") => {
                let allowed = match channel.may_track {
                    Some(allowed) => allowed,
                    None => self.realtime.policies.may_track(&channel.claims, channel.name()).await,
                };
                channel.may_track = Some(allowed);
                let meta = payload.get("payload").cloned().unwrap_or_else(|| json!({}));
                match (allowed, meta.is_object()) {
                    (false, _) => (Status::Error, json!({})),
                    (true, false) => (Status::Error, json!({"reason": "Presence track payload must be a map"})),
                    (true, true) => {
                        self.track(frame, meta);
                        return;
                    }
                }
            }
            Some(_) => (Status::Error, json!({})),
        };
        if let Some(channel) = self.joined.get(&frame.topic) {
            self.reply(frame, &channel.join_ref, status, &response);
        }
    }

    fn track(&mut self, frame: &Incoming, meta: Value) {
        let Some(channel) = self.joined.get_mut(&frame.topic) else { return };
        let presence = &self.realtime.presence;
        let mut state = None;
        // Tracking enables presence for a channel that joined without it.
        let key = channel.config.presence_key.get_or_insert_with(|| {
            presence.watch(&channel.topic, channel.id, self.protocol, self.frames.clone());
            state = Some(presence.state(&channel.topic).to_string());
            uuid::Uuid::new_v4().to_string()
        });
        let key = key.clone();
        let (topic, id, join_ref) = (channel.topic.clone(), channel.id, channel.join_ref.clone());
        self.reply(frame, &join_ref, Status::Ok, &json!({}));
        if let Some(state) = state {
            self.frames.push(encode(self.protocol, &join_ref, &Value::Null, &topic.name, "presence_state", &state));
        }
        self.realtime.presence.track(&topic, id, &key, &meta);
    }
}
