use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Announcement, Channel, Channels, Late, MAX_CHANNELS, no_permission};
use crate::realtime::changes;
use crate::realtime::frame::{Incoming, Payload, encode};
use crate::realtime::hub::{Member, Topic};
use crate::realtime::join::{JoinConfig, Replay};
use crate::token::{Claims, TokenError};

impl Channels {
    /// Admits a channel or refuses it late; takes the place of an older one of that name.
    pub(super) async fn join(&mut self, frame: &Incoming) -> Option<Late> {
        let Payload::Json(payload) = &frame.payload else { return None };
        let name = frame.topic.trim_start_matches("realtime:").to_owned();
        let config = JoinConfig::parse(payload);
        let claims = match self.admit(frame, &name, &config).await {
            Ok(claims) => claims,
            Err(reason) => {
                let response = json!({ "reason": reason }).to_string();
                let frame = self.reply_frame(frame, &frame.join_ref, "error", &response);
                return Some(Late { after: self.realtime.join_refusal_delay, frame });
            }
        };
        let may_send = !config.private || self.realtime.policies.may_send(&claims, &name).await;
        let old = self.joined.remove(&frame.topic);
        if let Some(old) = &old {
            self.forget(old);
        }
        let (echo, subscribed) = changes::accept(&config.postgres_changes, &claims, &self.realtime.policies);
        self.reply(frame, &frame.join_ref, "ok", &json!({ "postgres_changes": echo }).to_string());
        if let Some(old) = old {
            self.close(&old);
        }
        let now = Instant::now();
        let topic = Topic { name: frame.topic.clone(), private: config.private };
        let streams_from = now + self.realtime.stream_gap;
        let member = Member {
            id: self.realtime.next_id(),
            vsn: self.vsn,
            queue: self.queue.clone(),
            streams_from,
            heard: self.realtime.faults.deafened(),
        };
        let mut channel = Channel {
            id: member.id,
            join_ref: frame.join_ref.clone(),
            may_send,
            token: config.access_token.clone().unwrap_or_else(|| self.apikey.clone()),
            expires_at: expiry(&claims, now),
            announcements: Vec::new(),
            topic,
            config,
        };
        self.realtime.hub.join(&channel.topic, member);
        if let Some(Replay::From { since, limit }) = channel.config.replay {
            let past = self.realtime.hub.replay(self.vsn, &channel.join_ref, &frame.topic, since, limit);
            past.into_iter().for_each(|frame| self.queue.push(frame));
        }
        if channel.config.presence.is_some() {
            let state = self.realtime.presence.state(&channel.topic);
            self.queue.push(encode(
                self.vsn,
                &channel.join_ref,
                &Value::Null,
                &frame.topic,
                "presence_state",
                &state.to_string(),
            ));
            self.realtime.presence.watch(&channel.topic, channel.id, self.vsn, self.queue.clone());
        }
        if channel.config.replication_ready {
            channel.announcements.push((streams_from, Announcement::Replication));
        }
        if !echo.is_empty() {
            // A subscription that cannot be is told at once, one that can when it stands.
            let after = if subscribed.is_ok() { self.realtime.postgres_changes_delay } else { Duration::ZERO };
            channel.announcements.push((now + after, Announcement::Changes(subscribed)));
        }
        self.joined.insert(frame.topic.clone(), channel);
        self.tick(now);
        None
    }

    /// The claims to join with, or the reason of the refusal.
    async fn admit(&self, frame: &Incoming, name: &str, config: &JoinConfig) -> Result<Claims, String> {
        if name.is_empty() {
            return Err("TopicNameRequired: You must provide a topic name".into());
        }
        let token = config.access_token.as_ref().unwrap_or(&self.apikey);
        let claims = self.realtime.keys.verify_live(token).map_err(|error| {
            let code = match error {
                TokenError::Malformed => "MalformedJWT",
                TokenError::Signature | TokenError::Signer => "JwtSignatureError",
                TokenError::Claims | TokenError::Expired(_) => "InvalidJWTToken",
            };
            format!("{code}: {error}")
        })?;
        if let Some(reason) = self.realtime.faults.roll(|all, _| all.refuse_joins.clone()) {
            return Err(reason);
        }
        if self.joined.len() >= MAX_CHANNELS && !self.joined.contains_key(&frame.topic) {
            return Err("ChannelRateLimitReached: Too many channels".into());
        }
        if config.private && !self.realtime.policies.may_join(&claims, name).await {
            return Err(format!("Unauthorized: {}", no_permission(name)));
        }
        match config.replay {
            Some(Replay::Invalid) => Err("UnableToReplayMessages: Replay params are not valid".into()),
            Some(_) if !config.private => {
                Err("UnableToReplayMessages: Replay is not allowed for public channels".into())
            }
            _ => Ok(claims),
        }
    }
}

/// Far tokens are looked at once a year, so that no sum of times overflows.
pub(super) fn expiry(claims: &Claims, now: Instant) -> Instant {
    let left = jiff::Timestamp::from_second(i64::try_from(claims.expires_at()).unwrap_or(i64::MAX))
        .map_or(i64::MAX, |at| at.as_millisecond())
        .saturating_sub(jiff::Timestamp::now().as_millisecond());
    now + Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(Duration::from_secs(365 * 86400))
}
