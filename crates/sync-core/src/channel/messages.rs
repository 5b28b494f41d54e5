//! What the server sends over the project's channel.

use super::{Channel, DisconnectReason, STREAM_READY_TIMEOUT, State};
use crate::context::{Context, Signal, clip};
use crate::wire::{PHOENIX, ServerMessage};
use crate::{DegradedReason, Event, RejectReason, SkipReason};

impl Channel {
    pub(super) fn on_message(&mut self, cx: &mut Context, message: ServerMessage) {
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
            ServerMessage::Reply { reference, ok, reason, .. } => self.on_reply(cx, reference, ok, reason),
            ServerMessage::Broadcast { event, payload, .. } => cx.signal(Signal::Broadcast { event, payload }),
            ServerMessage::RawBroadcast { event, .. } => cx.signal(Signal::RawBroadcast { event }),
            ServerMessage::PostgresChanges { payload, .. } => cx.signal(Signal::RowChanged { payload }),
            ServerMessage::System { join_ref, ok, extension, message, .. } => {
                if self.is_current_join(join_ref.as_deref()) {
                    self.on_system(cx, ok, &extension, message);
                }
            }
            ServerMessage::Close { join_ref, .. } if self.is_current_join(join_ref.as_deref()) => {
                self.channel_gone(cx, DisconnectReason::ChannelClosed, "the server closed the channel".into());
            }
            ServerMessage::Error { join_ref, .. } if self.is_current_join(join_ref.as_deref()) => {
                self.channel_gone(cx, DisconnectReason::ChannelCrashed, "the channel crashed".into());
            }
            ServerMessage::Close { .. } | ServerMessage::Error { .. } => {}
            ServerMessage::Other { .. } => cx.skipped(SkipReason::UnknownFrame),
        }
    }

    /// Whether a message belongs to the present join: one of an earlier join over the same socket has no meaning for it.
    /// Protocol 1.0.0 often leaves the join out.
    fn is_current_join(&self, join_ref: Option<&str>) -> bool {
        match (self.join_ref(), join_ref) {
            (Some(ours), Some(theirs)) => ours.to_string() == theirs,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn join_ref(&self) -> Option<u64> {
        match self.state {
            State::Joining { join_ref, .. }
            | State::AwaitingStream { join_ref, .. }
            | State::Joined { join_ref, .. } => Some(join_ref),
            _ => None,
        }
    }

    fn on_reply(&mut self, cx: &mut Context, reference: Option<String>, ok: bool, server_reason: String) {
        let Some(join_ref) = self.join_ref() else { return };
        if reference.as_deref() != Some(join_ref.to_string().as_str()) {
            return;
        }
        if !ok {
            let reason = DisconnectReason::classify_server_reason(&server_reason);
            let detail = format!("the join was refused: {}", clip(server_reason));
            return self.channel_gone(cx, reason.unwrap_or(DisconnectReason::JoinRefused), detail);
        }
        if let State::Joining { .. } = self.state {
            self.state = State::AwaitingStream { join_ref, until: cx.now.after(STREAM_READY_TIMEOUT), since: cx.now };
            cx.event(Event::ChannelJoined { private: self.join.private, rejoin: self.joined_before });
            cx.recover(DegradedReason::ChannelDown);
            self.joined_before = true;
            self.with_status(cx, |status, cx, link| status.main_joined(cx, link));
        }
    }

    fn on_system(&mut self, cx: &mut Context, ok: bool, extension: &str, message: String) {
        match (ok, extension, self.state) {
            // The rest of the channel works without the rows: a rejoin would be refused them again and again.
            (false, "postgres_changes", _) => cx.rejected(RejectReason::PostgresChanges, message),
            (false, ..) => {
                let reason = DisconnectReason::classify_server_reason(&message);
                self.channel_gone(cx, reason.unwrap_or(DisconnectReason::ChannelClosed), clip(message));
            }
            (true, "system", State::AwaitingStream { join_ref, since, .. })
                if message.starts_with("Replication connection") =>
            {
                self.stream_ready(cx, join_ref, since);
            }
            (true, ..) => {}
        }
    }
}
