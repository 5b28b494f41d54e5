use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    AfterReply, Channel, Channels, DelayedReply, MAX_CHANNELS, Notice, NoticeContent, Status, no_permission,
    without_prefix,
};
use crate::faults::JoinError;
use crate::realtime::frame::{Incoming, Payload, encode};
use crate::realtime::hub::{Member, Topic};
use crate::realtime::join::{JoinConfig, Replay, WrongType};
use crate::realtime::{Visibility, changes};
use crate::token::{Claims, TokenError};

/// The code with which a socket with too many joins is closed.
const TOO_MANY_JOINS: u16 = 1001;
/// Tokens that expire later than this are checked again after it, so that no sum of times overflows.
const LONGEST_EXPIRY: Duration = Duration::from_secs(365 * 86400);

/// A join that may go on.
struct Admitted {
    config: JoinConfig,
    claims: Claims,
}

/// The reason for which a join was refused.
enum JoinRefusal {
    MissingTopicName,
    Token(TokenError),
    Fault(JoinError),
    /// A reason that a fault gives as it is.
    CustomFault(String),
    TooManyChannels,
    Unauthorized(String),
    InvalidReplay,
    PublicReplay,
    WrongType(WrongType),
}

impl JoinRefusal {
    /// The `reason` of the answer, with the texts of the real server.
    fn reason(&self) -> String {
        match self {
            JoinRefusal::MissingTopicName => "TopicNameRequired: You must provide a topic name".into(),
            JoinRefusal::Token(error) => {
                let code = match error {
                    TokenError::Malformed => "MalformedJWT",
                    TokenError::Signature => "JwtSignatureError",
                    TokenError::Signer => "JwtSignerError",
                    TokenError::Claims | TokenError::Expired(_) => "InvalidJWTToken",
                };
                format!("{code}: {error}")
            }
            JoinRefusal::Fault(error) => error.reason().into(),
            JoinRefusal::CustomFault(reason) => reason.clone(),
            JoinRefusal::TooManyChannels => "ChannelRateLimitReached: Too many channels".into(),
            JoinRefusal::Unauthorized(name) => format!("Unauthorized: {}", no_permission(name)),
            JoinRefusal::InvalidReplay => "UnableToReplayMessages: Replay params are not valid".into(),
            JoinRefusal::PublicReplay => "UnableToReplayMessages: Replay is not allowed for public channels".into(),
            JoinRefusal::WrongType(error) => error.reason().into(),
        }
    }

    fn then(&self) -> AfterReply {
        match self {
            JoinRefusal::Fault(JoinError::JoinRateLimit) => AfterReply::Close(TOO_MANY_JOINS),
            _ => AfterReply::Continue,
        }
    }
}

impl Channels {
    /// Admits a channel, or returns the late refusal. A new channel replaces one of the same name.
    pub(super) async fn join(&mut self, frame: &Incoming) -> Option<DelayedReply> {
        let Payload::Json(payload) = &frame.payload else { return None };
        let name = without_prefix(&frame.topic).to_owned();
        let Admitted { config, claims } = match self.admit(frame, &name, payload).await {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let response = json!({ "reason": refusal.reason() });
                let frame = self.reply_frame(frame, &frame.join_ref, Status::Error, &response);
                let after = self.realtime.settings.join_refusal_delay;
                return Some(DelayedReply { after, frame, then: refusal.then() });
            }
        };
        let private = config.visibility == Visibility::Private;
        let may_broadcast = !private || self.realtime.policies.may_broadcast(&claims, &name).await;
        let old = self.joined.remove(&frame.topic);
        if let Some(old) = &old {
            self.unregister(old);
        }
        let (echo, subscribed) = changes::accept(&config.postgres_changes, &claims, &*self.realtime.policies);
        self.reply(frame, &frame.join_ref, Status::Ok, &json!({ "postgres_changes": echo }));
        if let Some(old) = old {
            self.close(&old);
        }
        let now = Instant::now();
        let streams_from = after(now, self.realtime.settings.stream_gap);
        let mut channel = Channel {
            id: self.realtime.next_id(),
            join_ref: frame.join_ref.clone(),
            topic: Topic { name: frame.topic.clone(), visibility: config.visibility },
            token: config.access_token.clone().unwrap_or_else(|| self.apikey.clone()),
            expires_at: expiry(&claims, now),
            claims,
            may_broadcast,
            may_track: (!private).then_some(true),
            notices: Vec::new(),
            config,
        };
        let member = Member {
            id: channel.id,
            protocol: self.protocol,
            frames: self.frames.clone(),
            streams_from,
            stall_epoch: self.realtime.faults.stall_epoch(),
        };
        self.realtime.hub.join(&channel.topic, member);
        self.send_past(&channel);
        self.start_presence(&mut channel).await;
        if channel.config.replication_ready {
            channel.notices.push(self.replication_notice(now, streams_from));
        }
        if !echo.is_empty() {
            // A refused subscription is announced at once, an accepted one when it is active.
            let delay = match subscribed {
                Ok(_) => self.realtime.settings.postgres_changes_delay,
                Err(_) => Duration::ZERO,
            };
            channel.notices.push(Notice { at: after(now, delay), content: NoticeContent::Changes(subscribed) });
        }
        self.joined.insert(frame.topic.clone(), channel);
        self.tick(now);
        None
    }

    fn send_past(&self, channel: &Channel) {
        if let Some(Replay::From { since, limit }) = channel.config.replay {
            let (join_ref, topic) = (&channel.join_ref, &channel.topic.name);
            let past = self.realtime.hub.replay(self.protocol, join_ref, topic, since, limit);
            past.into_iter().for_each(|frame| self.frames.push(frame));
        }
    }

    /// Sends the presences of the topic to a channel that asks for them and may have them.
    async fn start_presence(&self, channel: &mut Channel) {
        if channel.config.presence_key.is_none() {
            return;
        }
        if channel.may_track.is_none() {
            channel.may_track = Some(self.realtime.policies.may_track(&channel.claims, channel.name()).await);
        }
        if channel.may_track == Some(true) {
            let state = self.realtime.presence.state(&channel.topic).to_string();
            let (join_ref, topic) = (&channel.join_ref, &channel.topic.name);
            self.frames.push(encode(self.protocol, join_ref, &Value::Null, topic, "presence_state", &state));
            self.realtime.presence.watch(&channel.topic, channel.id, self.protocol, self.frames.clone());
        }
    }

    fn replication_notice(&self, now: Instant, streams_from: Instant) -> Notice {
        match self.realtime.faults.roll(|all, _| all.withhold_replication) {
            true => {
                let at = after(now, self.realtime.settings.replication_timeout);
                Notice { at, content: NoticeContent::ReplicationFailed }
            }
            false => Notice { at: streams_from, content: NoticeContent::ReplicationReady },
        }
    }

    async fn admit(&self, frame: &Incoming, name: &str, payload: &Value) -> Result<Admitted, JoinRefusal> {
        if name.is_empty() {
            return Err(JoinRefusal::MissingTopicName);
        }
        let config = JoinConfig::parse(payload, name).map_err(JoinRefusal::WrongType)?;
        let token = config.access_token.as_ref().unwrap_or(&self.apikey);
        let claims = self.realtime.keys.verify_live(token).map_err(JoinRefusal::Token)?;
        let (custom, error) = self.realtime.faults.roll(|all, random| {
            let fail = all.fail_joins.as_mut();
            let error = fail.and_then(|fail| fail.chance.happens(random).then_some(fail.error));
            (all.refuse_joins.clone(), error)
        });
        if let Some(reason) = custom {
            return Err(JoinRefusal::CustomFault(reason));
        }
        if let Some(error) = error {
            return Err(JoinRefusal::Fault(error));
        }
        if self.joined.len() >= MAX_CHANNELS && !self.joined.contains_key(&frame.topic) {
            return Err(JoinRefusal::TooManyChannels);
        }
        let private = config.visibility == Visibility::Private;
        if private && !self.realtime.policies.may_join(&claims, name).await {
            return Err(JoinRefusal::Unauthorized(name.into()));
        }
        match config.replay {
            Some(Replay::Invalid) => Err(JoinRefusal::InvalidReplay),
            Some(_) if !private => Err(JoinRefusal::PublicReplay),
            _ => Ok(Admitted { config, claims }),
        }
    }
}

/// The time at which the token expires, at most a year from now.
pub(super) fn expiry(claims: &Claims, now: Instant) -> Instant {
    let left = jiff::Timestamp::from_second(i64::try_from(claims.expires_at()).unwrap_or(i64::MAX))
        .map_or(i64::MAX, |at| at.as_millisecond())
        .saturating_sub(jiff::Timestamp::now().as_millisecond());
    after(now, Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST_EXPIRY))
}

fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now)
}
