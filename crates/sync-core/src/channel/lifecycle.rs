//! From an attempt to the next: connecting, joining, and what follows when either fails or the channel is lost.

use std::time::Duration;

use super::heartbeat::Heartbeat;
use super::retries::RetryClass;
use super::{CONNECT_TIMEOUT, Channel, DisconnectReason, JOIN_TIMEOUT, STABLE_AFTER, State, TOKEN_WAIT_TIMEOUT};
use crate::context::{Context, Signal};
use crate::wire::{ClientMessage, Push};
use crate::{DegradedReason, Event, Output};

impl Channel {
    pub(super) fn opened(&mut self, cx: &mut Context) {
        self.socket = Some(Heartbeat::new(cx.now));
        self.send_join(cx);
    }

    pub(super) fn send_heartbeat(&mut self, cx: &mut Context) {
        let reference = self.take_ref();
        cx.outputs.push_back(Output::Send(ClientMessage::heartbeat(self.protocol, reference)));
        if let Some(heartbeat) = &mut self.socket {
            heartbeat.sent(cx.now, reference);
        }
    }

    pub(super) fn send(&mut self, cx: &mut Context, join_ref: Option<u64>, push: Push) {
        let reference = self.take_ref();
        let (protocol, topic) = (self.protocol, self.topic.clone());
        cx.outputs.push_back(Output::Send(ClientMessage { protocol, topic, join_ref, reference, push }));
    }

    pub(super) fn connect(&mut self, cx: &mut Context) {
        self.state = State::Connecting { until: cx.now.after(CONNECT_TIMEOUT) };
        cx.outputs.push_back(Output::Connect);
    }

    pub(super) fn attempt(&mut self, cx: &mut Context) {
        match self.socket {
            Some(_) => self.send_join(cx),
            None => self.connect(cx),
        }
    }

    /// Ends a wait early.
    pub(super) fn attempt_now(&mut self, cx: &mut Context, reason: DisconnectReason) {
        cx.event(Event::ChannelRetry { reason, after: Duration::ZERO, attempt: self.retries.attempts() });
        self.attempt(cx);
    }

    /// The channel is lost, the socket may still be open.
    pub(super) fn channel_gone(&mut self, cx: &mut Context, reason: DisconnectReason, detail: String) {
        self.lost(cx, reason, detail);
        match reason.retry_class() {
            Some(class) => self.retry(cx, reason, class),
            None => self.await_token(cx, reason),
        }
    }

    pub(super) fn socket_gone(&mut self, cx: &mut Context, reason: DisconnectReason, detail: String) {
        if self.socket.is_none() && !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        self.forget_socket();
        self.channel_gone(cx, reason, detail);
    }

    /// An answer did not come in time.
    pub(super) fn drop_socket(&mut self, cx: &mut Context, reason: DisconnectReason) {
        let awaited = match reason {
            DisconnectReason::ConnectTimeout => "upgrade",
            DisconnectReason::JoinTimeout => "join",
            _ => "heartbeat",
        };
        cx.outputs.push_back(Output::Disconnect);
        self.forget_socket();
        self.channel_gone(cx, reason, format!("no answer to the {awaited}"));
    }

    pub(super) fn forget_socket(&mut self) {
        self.socket = None;
        if let Some(status) = &mut self.status {
            status.socket_gone();
        }
    }

    pub(super) fn lost(&mut self, cx: &mut Context, reason: DisconnectReason, detail: String) {
        if let State::AwaitingStream { since, .. } | State::Joined { since, .. } = self.state
            && cx.now.since(since) >= STABLE_AFTER
        {
            self.retries.reset();
        }
        cx.degrade(DegradedReason::ChannelDown, detail.clone());
        cx.event(Event::ChannelLost { reason, detail });
        self.state = State::Waiting { until: cx.now };
    }

    pub(super) fn retry(&mut self, cx: &mut Context, reason: DisconnectReason, class: RetryClass) {
        let after = self.retries.next(class, cx.rng);
        self.state = State::Waiting { until: cx.now.after(after) };
        cx.event(Event::ChannelRetry { reason, after, attempt: self.retries.attempts() });
    }

    pub(super) fn await_token(&mut self, cx: &mut Context, reason: DisconnectReason) {
        cx.signal(Signal::TokenNeeded);
        if !self.can_renew {
            return self.retry(cx, reason, RetryClass::Rejected);
        }
        self.state = State::AwaitingToken { until: cx.now.after(TOKEN_WAIT_TIMEOUT), reason };
    }

    fn send_join(&mut self, cx: &mut Context) {
        // The join's own reference is the next one.
        let join_ref = self.next_ref;
        self.send(cx, Some(join_ref), Push::Join(self.join.clone()));
        self.state = State::Joining { join_ref, until: cx.now.after(JOIN_TIMEOUT) };
    }

    fn take_ref(&mut self) -> u64 {
        let reference = self.next_ref;
        self.next_ref = self.next_ref.wrapping_add(1);
        reference
    }
}
