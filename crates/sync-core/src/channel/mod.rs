//! Keeps the project's channel joined: connect, join, heartbeat, and back to joined after whatever ends it.

mod disconnect;
mod heartbeat;
mod lifecycle;
mod messages;
mod publisher;
mod retries;
mod status_channel;

use std::time::Duration;

use crate::context::{Context, Signal, clip};
use crate::time::{Timer, TimerReason, earliest};
use crate::wire::{JoinConfig, ProtocolVersion, Push, ServerMessage, project_topic};
use crate::{ChannelAccess, ChannelState, LiveOptions, RejectReason, SocketEvent, Time, error_chain};

pub use disconnect::DisconnectReason;
use heartbeat::{Heartbeat, HeartbeatAction};
pub(crate) use publisher::{StatusMessage, StatusPublisher};
use retries::Retries;
use status_channel::StatusChannel;

/// How long an upgrade may take; the server sends a refusal 2 s late.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a join may take; the server sends a refusal 5 s late.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the message that broadcasts from the database arrive.
const STREAM_READY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a renewed token before the old one is tried again.
const TOKEN_WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A channel that stays joined this long counts as stable: only then do the waits between attempts start small again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The project's channel and its websocket.
#[derive(Debug)]
pub(crate) struct Channel {
    topic: String,
    protocol: ProtocolVersion,
    join: JoinConfig,
    can_renew: bool,
    state: State,
    /// The heartbeat of the socket, where one is open.
    socket: Option<Heartbeat>,
    retries: Retries,
    next_ref: u64,
    joined_before: bool,
    status: Option<StatusChannel>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// For the next attempt: to join where there is a socket, to connect where there is none.
    Waiting {
        until: Time,
    },
    /// For a renewed token, then as `Waiting`.
    AwaitingToken {
        until: Time,
        /// Why the token is needed.
        reason: DisconnectReason,
    },
    Connecting {
        until: Time,
    },
    Joining {
        join_ref: u64,
        until: Time,
    },
    /// Joined, but broadcasts from the database may not arrive yet.
    AwaitingStream {
        join_ref: u64,
        until: Time,
        since: Time,
    },
    Joined {
        join_ref: u64,
        since: Time,
    },
}

/// What the status channel needs of the socket that it shares.
pub(crate) struct Link<'a> {
    protocol: ProtocolVersion,
    is_open: bool,
    next_ref: &'a mut u64,
}

impl Channel {
    /// A channel that is connecting.
    pub fn start(cx: &mut Context, project_id: &str, options: &LiveOptions) -> Channel {
        let filter = options.postgres_changes.then(|| format!("project_id=eq.{project_id}"));
        let private = options.access == ChannelAccess::Private;
        let mut channel = Channel {
            topic: project_topic(project_id),
            protocol: options.protocol,
            join: JoinConfig { private, replication_ready: true, postgres_changes: filter },
            can_renew: options.can_renew,
            state: State::Waiting { until: cx.now },
            socket: None,
            retries: Retries::new(),
            next_ref: 1,
            joined_before: false,
            status: options.publish_status.then(|| StatusChannel::new(project_id)),
        };
        channel.connect(cx);
        channel
    }

    /// How far the channel is.
    pub fn state(&self) -> ChannelState {
        match self.state {
            State::Waiting { .. } | State::AwaitingToken { .. } => ChannelState::Disconnected,
            State::Connecting { .. } => ChannelState::Connecting,
            State::Joining { .. } => ChannelState::Joining,
            State::AwaitingStream { .. } | State::Joined { .. } => ChannelState::Joined,
        }
    }

    pub fn on_socket(&mut self, cx: &mut Context, event: SocketEvent) {
        match event {
            SocketEvent::Opened => self.opened(cx),
            SocketEvent::Text(frame) => match ServerMessage::decode_text(&frame) {
                Ok(message) => self.on_message(cx, message),
                Err(error) => cx.rejected(RejectReason::Frame, error_chain(&error)),
            },
            SocketEvent::Binary(frame) => match ServerMessage::decode_binary(&frame) {
                Ok(message) => self.on_message(cx, message),
                Err(error) => cx.rejected(RejectReason::Frame, error_chain(&error)),
            },
            SocketEvent::Refused { status, body, retry_after } => {
                let detail = format!("the upgrade was refused with HTTP {status}: {}", clip(body));
                let reason = match status {
                    401 => DisconnectReason::TokenRejected,
                    429 => DisconnectReason::RateLimited,
                    500.. => DisconnectReason::ServerFault,
                    _ => DisconnectReason::UpgradeRefused,
                };
                if reason.retry_class().is_some() {
                    self.retries.wait_at_least(retry_after.unwrap_or_default());
                }
                self.socket_gone(cx, reason, detail);
            }
            SocketEvent::Failed(error) => self.socket_gone(cx, DisconnectReason::Unreachable, clip(error)),
            SocketEvent::Closed { code, reason } => {
                let detail = format!("the socket was closed with {code} {}", clip(reason));
                self.socket_gone(cx, DisconnectReason::Closed, detail);
            }
        }
    }

    pub fn tick(&mut self, cx: &mut Context) {
        match self.socket.as_mut().map_or(HeartbeatAction::Wait, |heartbeat| heartbeat.tick(cx.now)) {
            HeartbeatAction::Wait => {}
            HeartbeatAction::Send => self.send_heartbeat(cx),
            HeartbeatAction::TimedOut => return self.drop_socket(cx, DisconnectReason::HeartbeatTimeout),
        }
        match self.state {
            State::Waiting { until } if until <= cx.now => self.attempt(cx),
            State::AwaitingToken { until, reason } if until <= cx.now => self.attempt_now(cx, reason),
            State::Connecting { until } if until <= cx.now => self.drop_socket(cx, DisconnectReason::ConnectTimeout),
            State::Joining { until, .. } if until <= cx.now => self.drop_socket(cx, DisconnectReason::JoinTimeout),
            State::AwaitingStream { join_ref, until, since } if until <= cx.now => {
                self.stream_ready(cx, join_ref, since);
            }
            State::Joined { since, .. } if cx.now.since(since) >= STABLE_AFTER => self.retries.reset(),
            _ => {}
        }
        self.with_status(cx, |status, cx, link| status.tick(cx, link));
    }

    pub fn deadline(&self) -> Option<Timer> {
        let state = match self.state {
            State::Waiting { until } => Some(TimerReason::ChannelRetry.at(until)),
            State::AwaitingToken { until, .. } => Some(TimerReason::TokenWaitTimeout.at(until)),
            State::Connecting { until } => Some(TimerReason::ConnectTimeout.at(until)),
            State::Joining { until, .. } => Some(TimerReason::JoinTimeout.at(until)),
            State::AwaitingStream { until, .. } => Some(TimerReason::StreamReadyTimeout.at(until)),
            State::Joined { since, .. } => {
                let unstable = self.retries.attempts() > 0;
                unstable.then(|| TimerReason::ChannelStable.at(since.after(STABLE_AFTER)))
            }
        };
        let status = self.status.as_ref().and_then(StatusChannel::deadline);
        earliest([state, status, self.socket.map(|heartbeat| heartbeat.deadline())])
    }

    /// Joins once more over the same socket: that makes a server which lost its stream from the database open it again.
    pub fn rejoin(&mut self, cx: &mut Context) {
        if let State::Joined { .. } | State::AwaitingStream { .. } = self.state {
            let detail = "the database is ahead and the channel delivers no events".into();
            self.channel_gone(cx, DisconnectReason::Silent, detail);
        }
    }

    /// The machine was suspended: the socket is dead.
    pub fn resumed(&mut self, cx: &mut Context) {
        self.lost(cx, DisconnectReason::Suspended, "the machine was suspended".into());
        cx.outputs.push_back(crate::Output::Disconnect);
        self.forget_socket();
        self.retries.reset();
        if self.can_renew {
            self.await_token(cx, DisconnectReason::Suspended);
        } else {
            self.attempt_now(cx, DisconnectReason::Suspended);
        }
    }

    /// A new token is in use: push it, or continue with what waited for it.
    pub fn token_renewed(&mut self, cx: &mut Context) {
        match self.state {
            State::AwaitingToken { reason, .. } => self.attempt_now(cx, reason),
            State::AwaitingStream { join_ref, .. } | State::Joined { join_ref, .. } => {
                self.send(cx, Some(join_ref), Push::AccessToken);
            }
            _ => {}
        }
        self.with_status(cx, |status, cx, link| status.token_renewed(cx, link));
    }

    /// There will be no new token: keep trying with the old one.
    pub fn token_refused(&mut self, cx: &mut Context) {
        self.can_renew = false;
        if let State::AwaitingToken { reason, .. } = self.state {
            self.retry(cx, reason, retries::RetryClass::Rejected);
        }
    }

    /// Publishes on the status topic, where publishing is on.
    pub fn publish(&mut self, cx: &mut Context, message: StatusMessage) {
        self.with_status(cx, |status, cx, link| status.publish(cx, link, message));
    }

    fn stream_ready(&mut self, cx: &mut Context, join_ref: u64, since: Time) {
        self.state = State::Joined { join_ref, since };
        cx.signal(Signal::Streaming);
    }

    fn with_status(&mut self, cx: &mut Context, act: impl FnOnce(&mut StatusChannel, &mut Context, &mut Link)) {
        if let Some(status) = &mut self.status {
            let mut link =
                Link { protocol: self.protocol, is_open: self.socket.is_some(), next_ref: &mut self.next_ref };
            act(status, cx, &mut link);
        }
    }
}
