use std::time::Duration;

use crate::cx::{Cx, Signal, clip, earliest};
use crate::frame::{ClientMessage, JoinConfig, PHOENIX, ProtocolVersion, Push, ServerMessage, project_topic};
use crate::heartbeat::{Heartbeat, Pulse};
use crate::retries::{End, Retries};
use crate::status_channel::StatusChannel;
use crate::{Event, Loss, Options, Output, Reason, SocketEvent, Time};

/// Until an upgrade must have an answer; the server refuses 2 s late.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Until a join must have an answer; the server refuses 5 s late.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the message that broadcasts from the database stream.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a renewed token before the old one is tried again.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A channel that stays joined for so long is taken for healthy: only then do retries begin small again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Keeps the project's channel joined: connect, join, heartbeat, and back to joined after whatever ends it.
#[derive(Debug)]
pub(crate) struct Channel {
    topic: String,
    protocol: ProtocolVersion,
    join: JoinConfig,
    can_renew: bool,
    state: State,
    /// There is an open socket; its pulse.
    socket: Option<Heartbeat>,
    retries: Retries,
    next_ref: u64,
    joined_before: bool,
    pub(crate) status: Option<StatusChannel>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Off,
    /// For the next attempt: to join where there is a socket, to connect where there is none.
    Waiting {
        until: Time,
    },
    /// For a renewed token, then as `Waiting`.
    AwaitingToken {
        until: Time,
        /// What the token is to mend.
        loss: Loss,
    },
    Connecting {
        until: Time,
    },
    Joining {
        join_ref: u64,
        until: Time,
    },
    /// Joined, but broadcasts from the database may not stream yet.
    Settling {
        join_ref: u64,
        until: Time,
        since: Time,
    },
    Joined {
        join_ref: u64,
        since: Time,
    },
}

impl Channel {
    pub fn new(options: &Options) -> Channel {
        let filter = options.postgres_changes.then(|| format!("project_id=eq.{}", options.project_id));
        Channel {
            topic: project_topic(&options.project_id),
            protocol: options.protocol,
            join: JoinConfig { private: options.private, replication_ready: true, postgres_changes: filter },
            can_renew: options.can_renew,
            state: State::Off,
            socket: None,
            retries: Retries::new(),
            next_ref: 1,
            joined_before: false,
            status: options.publish_status.then(|| StatusChannel::new(options)),
        }
    }

    pub fn start(&mut self, cx: &mut Cx) {
        self.connect(cx);
    }

    /// `disconnected`, `connecting`, `joining`, `joined`, `off`.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Waiting { .. } | State::AwaitingToken { .. } => "disconnected",
            State::Connecting { .. } => "connecting",
            State::Joining { .. } => "joining",
            State::Settling { .. } | State::Joined { .. } => "joined",
        }
    }

    pub fn on_socket(&mut self, cx: &mut Cx, event: SocketEvent) {
        match event {
            SocketEvent::Opened => self.opened(cx),
            SocketEvent::Text(frame) => match ServerMessage::decode_text(&frame) {
                Ok(message) => self.on_message(cx, message),
                Err(error) => cx.rejected("frame", error),
            },
            SocketEvent::Binary(frame) => match ServerMessage::decode_binary(&frame) {
                Ok(message) => self.on_message(cx, message),
                Err(error) => cx.rejected("frame", error),
            },
            SocketEvent::Refused { status, body } => {
                let detail = format!("the upgrade was refused with {status}: {}", clip(body));
                let loss = match status {
                    401 => Loss::Token,
                    429 => Loss::Crowded,
                    500.. => Loss::ServerFault,
                    _ => Loss::Refused,
                };
                self.socket_gone(cx, loss, detail);
            }
            SocketEvent::Failed(error) => self.socket_gone(cx, Loss::Unreachable, clip(error)),
            SocketEvent::Closed { code, reason } => {
                let detail = format!("the socket was closed with {code} {}", clip(reason));
                self.socket_gone(cx, Loss::Closed, detail);
            }
        }
    }

    pub fn tick(&mut self, cx: &mut Cx) {
        match self.socket.as_mut().map_or(Pulse::Quiet, |heartbeat| heartbeat.tick(cx.now)) {
            Pulse::Quiet => {}
            Pulse::Beat => self.beat(cx),
            Pulse::Dead => return self.drop_socket(cx, Loss::HeartbeatTimeout),
        }
        match self.state {
            State::Waiting { until } if until <= cx.now => self.attempt(cx),
            State::AwaitingToken { until, loss } if until <= cx.now => self.attempt_now(cx, loss),
            State::Connecting { until } if until <= cx.now => self.drop_socket(cx, Loss::ConnectTimeout),
            State::Joining { until, .. } if until <= cx.now => self.drop_socket(cx, Loss::JoinTimeout),
            State::Settling { join_ref, until, since } if until <= cx.now => self.settled(cx, join_ref, since),
            State::Joined { since, .. } if cx.now.since(since) >= STABLE_AFTER => self.retries.reset(),
            _ => {}
        }
        self.with_status(cx, |status, cx, link| status.tick(cx, link));
    }

    pub fn deadline(&self) -> Option<Time> {
        let state = match self.state {
            State::Off => None,
            State::Waiting { until }
            | State::AwaitingToken { until, .. }
            | State::Connecting { until }
            | State::Joining { until, .. }
            | State::Settling { until, .. } => Some(until),
            State::Joined { since, .. } => (self.retries.attempts() > 0).then(|| since.after(STABLE_AFTER)),
        };
        let status = self.status.as_ref().and_then(StatusChannel::deadline);
        earliest([state, status, self.socket.map(|heartbeat| heartbeat.deadline())])
    }

    /// Joins once more over the same socket: that wakes a server which lost its stream from the database.
    pub fn rejoin(&mut self, cx: &mut Cx) {
        if let State::Joined { .. } | State::Settling { .. } = self.state {
            self.channel_gone(cx, Loss::Silent, "the database is ahead and the channel silent".into());
        }
    }

    /// The machine slept: whatever socket there was is dead.
    pub fn resumed(&mut self, cx: &mut Cx) {
        if self.state == State::Off {
            return;
        }
        self.lost(cx, Loss::Suspended, "the machine was suspended".into());
        cx.outputs.push_back(Output::Disconnect);
        self.forget_socket();
        self.retries.reset();
        if self.can_renew {
            self.await_token(cx, Loss::Suspended);
        } else {
            self.attempt_now(cx, Loss::Suspended);
        }
    }

    /// A new token is in use by the shell: push it, or go on with what waited for it.
    pub fn token_renewed(&mut self, cx: &mut Cx) {
        match self.state {
            State::AwaitingToken { loss, .. } => self.attempt_now(cx, loss),
            State::Settling { join_ref, .. } | State::Joined { join_ref, .. } => {
                self.send(cx, Some(join_ref), Push::AccessToken);
            }
            _ => {}
        }
        self.with_status(cx, |status, cx, link| status.token_renewed(cx, link));
    }

    /// There will be none: keep trying with the old one.
    pub fn token_refused(&mut self, cx: &mut Cx) {
        self.can_renew = false;
        if let State::AwaitingToken { loss, .. } = self.state {
            self.retry(cx, loss, End::Told);
        }
    }

    /// Tells the status topic, where there is one.
    pub fn publish(&mut self, cx: &mut Cx, event: &'static str, payload: serde_json::Value) {
        self.with_status(cx, |status, cx, link| status.publish(cx, link, event, payload));
    }

    fn on_message(&mut self, cx: &mut Cx, message: ServerMessage) {
        if message.topic() == PHOENIX {
            if let (ServerMessage::Reply { reference: Some(reference), .. }, Some(heartbeat)) =
                (message, &mut self.socket)
            {
                heartbeat.answered(&reference);
            }
            return;
        }
        if message.topic() != self.topic {
            return self.with_status(cx, |status, cx, link| status.on_message(cx, link, message));
        }
        match message {
            ServerMessage::Reply { reference, ok, reason, .. } => self.replied(cx, reference, ok, reason),
            ServerMessage::Broadcast { event, payload, .. } => cx.signal(Signal::Broadcast { event, payload }),
            ServerMessage::PostgresChanges { payload, .. } => cx.signal(Signal::RowChanged { payload }),
            ServerMessage::System { join_ref, ok, extension, message, .. } => {
                if self.is_ours(join_ref.as_deref()) {
                    self.system(cx, ok, &extension, message);
                }
            }
            ServerMessage::Close { join_ref, .. } if self.is_ours(join_ref.as_deref()) => {
                self.channel_gone(cx, Loss::ChannelClosed, "the server closed the channel".into());
            }
            ServerMessage::Error { join_ref, .. } if self.is_ours(join_ref.as_deref()) => {
                self.channel_gone(cx, Loss::ChannelCrashed, "the channel crashed".into());
            }
            ServerMessage::Close { .. } | ServerMessage::Error { .. } => {}
            ServerMessage::Other { .. } => cx.skipped("unknown_frame"),
        }
    }

    /// A message of an older join over the same socket says nothing about the present one. Protocol 1.0.0 often
    /// leaves the join out.
    fn is_ours(&self, join_ref: Option<&str>) -> bool {
        match (self.join_ref(), join_ref) {
            (Some(ours), Some(theirs)) => ours.to_string() == theirs,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn join_ref(&self) -> Option<u64> {
        match self.state {
            State::Joining { join_ref, .. } | State::Settling { join_ref, .. } | State::Joined { join_ref, .. } => {
                Some(join_ref)
            }
            _ => None,
        }
    }

    fn replied(&mut self, cx: &mut Cx, reference: Option<String>, ok: bool, reason: String) {
        let Some(join_ref) = self.join_ref() else { return };
        if reference.as_deref() != Some(join_ref.to_string().as_str()) {
            return;
        }
        if !ok {
            let loss = Loss::spoken_of(&reason).unwrap_or(Loss::JoinRefused);
            return self.channel_gone(cx, loss, format!("the join was refused: {}", clip(reason)));
        }
        if let State::Joining { .. } = self.state {
            self.state = State::Settling { join_ref, until: cx.now.after(READY_TIMEOUT), since: cx.now };
            cx.event(Event::ChannelJoined { private: self.join.private, rejoin: self.joined_before });
            cx.recover(Reason::ChannelDown);
            self.joined_before = true;
            self.with_status(cx, |status, cx, link| status.main_joined(cx, link));
        }
    }

    fn system(&mut self, cx: &mut Cx, ok: bool, extension: &str, message: String) {
        match (ok, extension, self.state) {
            // The rest of the channel works without the rows: a rejoin would be refused them again and again.
            (false, "postgres_changes", _) => cx.rejected("postgres_changes", message),
            (false, ..) => {
                let loss = Loss::spoken_of(&message).unwrap_or(Loss::ChannelClosed);
                self.channel_gone(cx, loss, clip(message));
            }
            (true, "system", State::Settling { join_ref, since, .. })
                if message.starts_with("Replication connection") =>
            {
                self.settled(cx, join_ref, since);
            }
            (true, ..) => {}
        }
    }

    fn settled(&mut self, cx: &mut Cx, join_ref: u64, since: Time) {
        self.state = State::Joined { join_ref, since };
        cx.signal(Signal::Streaming);
    }

    fn opened(&mut self, cx: &mut Cx) {
        if self.state == State::Off {
            return;
        }
        self.socket = Some(Heartbeat::new(cx.now));
        self.send_join(cx);
    }

    fn send_join(&mut self, cx: &mut Cx) {
        let join_ref = self.next_ref;
        self.send(cx, Some(join_ref), Push::Join(self.join.clone()));
        self.state = State::Joining { join_ref, until: cx.now.after(JOIN_TIMEOUT) };
    }

    fn beat(&mut self, cx: &mut Cx) {
        let reference = self.next_ref;
        self.next_ref += 1;
        cx.outputs.push_back(Output::Send(ClientMessage::heartbeat(self.protocol, reference)));
        if let Some(heartbeat) = &mut self.socket {
            heartbeat.sent(cx.now, reference);
        }
    }

    fn send(&mut self, cx: &mut Cx, join_ref: Option<u64>, push: Push) {
        let reference = self.next_ref;
        self.next_ref += 1;
        let (protocol, topic) = (self.protocol, self.topic.clone());
        cx.outputs.push_back(Output::Send(ClientMessage { protocol, topic, join_ref, reference, push }));
    }

    fn connect(&mut self, cx: &mut Cx) {
        self.state = State::Connecting { until: cx.now.after(CONNECT_TIMEOUT) };
        cx.outputs.push_back(Output::Connect);
    }

    fn attempt(&mut self, cx: &mut Cx) {
        match self.socket {
            Some(_) => self.send_join(cx),
            None => self.connect(cx),
        }
    }

    /// What waits no longer.
    fn attempt_now(&mut self, cx: &mut Cx, loss: Loss) {
        cx.event(Event::ChannelRetry { reason: loss, after: Duration::ZERO, attempt: self.retries.attempts() });
        self.attempt(cx);
    }

    /// The socket stands, the channel does not.
    fn channel_gone(&mut self, cx: &mut Cx, loss: Loss, detail: String) {
        self.lost(cx, loss, detail);
        match loss.end() {
            Some(end) => self.retry(cx, loss, end),
            None => self.await_token(cx, loss),
        }
    }

    fn socket_gone(&mut self, cx: &mut Cx, loss: Loss, detail: String) {
        if matches!(self.state, State::Off)
            || (self.socket.is_none() && !matches!(self.state, State::Connecting { .. }))
        {
            return;
        }
        self.forget_socket();
        self.channel_gone(cx, loss, detail);
    }

    /// An answer did not come.
    fn drop_socket(&mut self, cx: &mut Cx, loss: Loss) {
        let awaited = match loss {
            Loss::ConnectTimeout => "upgrade",
            Loss::JoinTimeout => "join",
            _ => "heartbeat",
        };
        cx.outputs.push_back(Output::Disconnect);
        self.forget_socket();
        self.channel_gone(cx, loss, format!("no answer to the {awaited}"));
    }

    fn forget_socket(&mut self) {
        self.socket = None;
        if let Some(status) = &mut self.status {
            status.socket_gone();
        }
    }

    fn lost(&mut self, cx: &mut Cx, loss: Loss, detail: String) {
        if let State::Settling { since, .. } | State::Joined { since, .. } = self.state
            && cx.now.since(since) >= STABLE_AFTER
        {
            self.retries.reset();
        }
        cx.degrade(Reason::ChannelDown, detail.clone());
        cx.event(Event::ChannelLost { reason: loss, detail });
        self.state = State::Waiting { until: cx.now };
    }

    fn retry(&mut self, cx: &mut Cx, loss: Loss, end: End) {
        let after = self.retries.next(end, cx.rng);
        self.state = State::Waiting { until: cx.now.after(after) };
        cx.event(Event::ChannelRetry { reason: loss, after, attempt: self.retries.attempts() });
    }

    fn await_token(&mut self, cx: &mut Cx, loss: Loss) {
        cx.signal(Signal::TokenNeeded);
        if !self.can_renew {
            return self.retry(cx, loss, End::Told);
        }
        self.state = State::AwaitingToken { until: cx.now.after(TOKEN_TIMEOUT), loss };
    }

    fn with_status(&mut self, cx: &mut Cx, act: impl FnOnce(&mut StatusChannel, &mut Cx, &mut Link)) {
        if let Some(status) = &mut self.status {
            let mut link = Link { protocol: self.protocol, open: self.socket.is_some(), next_ref: &mut self.next_ref };
            act(status, cx, &mut link);
        }
    }
}

/// What the status channel needs of the socket that it shares.
pub(crate) struct Link<'a> {
    pub protocol: ProtocolVersion,
    pub open: bool,
    pub next_ref: &'a mut u64,
}
