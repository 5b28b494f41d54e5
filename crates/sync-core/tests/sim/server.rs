//! The Realtime server's side of one agent, and the session service.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sync_core::wire::{ClientMessage, JoinConfig, PHOENIX, ProtocolVersion, Push, project_topic};
use sync_core::{Input, NewToken, Renewal, RenewalError, SocketEvent, Time};

use crate::database::Commit;
use crate::world::{Due, PROJECT, World};

/// One agent's socket and channel.
#[derive(Default)]
pub struct Line {
    /// Each socket has a number of its own: what an earlier one still delivers is dropped.
    pub socket: u64,
    pub open: bool,
    /// The ref of the present join.
    pub joined: Option<u64>,
    /// Rows are sent as well.
    subscribed: bool,
    /// When the channel's newest token expires, in wall time.
    channel_ends: Duration,
    streams_since: Time,
    /// Joined, and nothing of the database arrives.
    pub stalled: bool,
    /// The network hangs: nothing arrives at either end.
    pub silent: bool,
}

impl Line {
    pub fn drop(&mut self) {
        self.socket += 1;
        self.open = false;
        self.leave();
    }

    pub fn leave(&mut self) {
        self.joined = None;
        self.subscribed = false;
    }
}

impl World {
    pub fn connect(&mut self) {
        self.line.drop();
        let socket = self.line.socket;
        if self.inject(self.faults.refuse, "refused") {
            let event = match self.random.below(8) {
                0 => SocketEvent::Refused { status: 401, body: "Token has expired".into(), retry_after: None },
                1 => SocketEvent::Refused { status: 429, body: "Too many joins per second".into(), retry_after: None },
                // Never answered.
                2 => return,
                _ => SocketEvent::Failed("no route".into()),
            };
            return self.later(20, Due::Socket(socket, event));
        }
        self.line.open = true;
        self.deliver(20, SocketEvent::Opened);
    }

    /// A message of the socket reaches the agent.
    pub fn arrive(&mut self, socket: u64, event: SocketEvent) {
        if socket == self.line.socket {
            self.agent.handle(self.now, Input::Socket(event));
        }
    }

    /// The server's end of the socket is gone.
    pub fn close(&mut self, code: u16) {
        self.deliver(1, SocketEvent::Closed { code, reason: String::new() });
        self.line.open = false;
        self.line.leave();
    }

    pub fn close_channel(&mut self) {
        if let Some(join) = self.line.joined {
            self.line.leave();
            self.phx_close(5, join);
        }
    }

    fn phx_close(&mut self, ms: u64, join: u64) {
        let join = join.to_string();
        self.frame(ms, Some(&join), Some(&join), &project_topic(PROJECT), "phx_close", json!({}));
    }

    pub fn deliver(&mut self, ms: u64, event: SocketEvent) {
        if self.line.open && !self.line.silent {
            self.later(ms, Due::Socket(self.line.socket, event));
        }
    }

    /// A text frame in the serializer of the socket. Protocol 1.0.0 has no place for the join.
    fn frame(
        &mut self,
        ms: u64,
        join: Option<&str>,
        reference: Option<&str>,
        topic: &str,
        event: &str,
        payload: Value,
    ) {
        let frame = match self.setting.protocol {
            ProtocolVersion::V1 => json!({"topic": topic, "event": event, "payload": payload, "ref": reference}),
            ProtocolVersion::V2 => json!([join, reference, topic, event, payload]),
        };
        self.deliver(ms, SocketEvent::Text(Bytes::from(frame.to_string())));
    }

    /// Sends the event of a transaction, as far as the channel delivers it.
    pub fn send_commit(&mut self, commit: Commit) {
        let Commit { event, mut payload, records } = commit;
        if self.setting.postgres_changes {
            records.into_iter().for_each(|record| self.send_row(record));
        }
        if self.random.percent(self.setting.no_revision) || self.inject(self.faults.malformed, "no_revision") {
            payload["revision"] = Value::Null;
        }
        if payload["content"].is_string() && self.inject(self.faults.malformed, "wrong_content") {
            payload["content"] = "a lie".into();
            payload["encoding"] = Value::Null;
        }
        self.send_event(event, payload);
    }

    pub fn send_event(&mut self, event: &str, payload: Value) {
        if self.setting.mute || !self.reaches() {
            return;
        }
        self.count("events_sent");
        let times = if self.inject(self.faults.double, "double") { 2 } else { 1 };
        for _ in 0..times {
            let ms = self.delay(3);
            let topic = project_topic(PROJECT);
            if self.setting.protocol == ProtocolVersion::V2 && self.random.percent(50) {
                let mut frame = vec![4, topic.len() as u8, event.len() as u8, 2, 1];
                frame.extend(topic.bytes().chain(event.bytes()).chain(*b"{}"));
                frame.extend(payload.to_string().bytes());
                self.deliver(ms, SocketEvent::Binary(frame.into()));
            } else {
                let payload = json!({"type": "broadcast", "event": event, "payload": payload});
                self.frame(ms, None, None, &topic, "broadcast", payload);
            }
        }
    }

    fn send_row(&mut self, mut record: Value) {
        if !self.line.subscribed || !self.reaches() {
            return;
        }
        self.count("rows_sent");
        let mut data = json!({"table": "project_files", "schema": "public", "type": "INSERT", "errors": null});
        if self.random.percent(10) {
            data["errors"] = json!(["Error 413: Payload Too Large"]);
            record["content"] = Value::Null;
        }
        data["record"] = record;
        let ms = self.delay(100);
        self.frame(ms, None, None, &project_topic(PROJECT), "postgres_changes", json!({"data": data, "ids": [1]}));
    }

    fn reaches(&mut self) -> bool {
        self.line.joined.is_some() && !self.line.stalled && !self.inject(self.faults.drop, "drop")
    }

    fn delay(&mut self, usual: u64) -> u64 {
        if self.inject(self.faults.delay, "delay") { self.random.below(4_000) } else { usual }
    }

    pub fn receive(&mut self, message: ClientMessage) {
        if !self.line.open || self.line.silent {
            return;
        }
        let ClientMessage { topic, join_ref, reference, push, .. } = message;
        let (join, reply) = (join_ref.map(|join| join.to_string()), reference.to_string());
        let ok = json!({"status": "ok", "response": {}});
        if topic != project_topic(PROJECT) {
            return match push {
                Push::Heartbeat => self.frame(5, None, Some(&reply), PHOENIX, "phx_reply", ok),
                Push::Join(_) => self.frame(5, join.as_deref(), Some(&reply), &topic, "phx_reply", ok),
                Push::AccessToken | Push::Leave | Push::Broadcast { .. } => {}
            };
        }
        match push {
            Push::Join(config) => self.join(reference, config),
            Push::AccessToken => {
                // A different token makes a server that lost its stream open it again.
                self.line.stalled = false;
                if let Some(join) = join_ref {
                    self.channel_token(join);
                }
            }
            Push::Heartbeat | Push::Leave | Push::Broadcast { .. } => {}
        }
    }

    fn join(&mut self, join: u64, config: JoinConfig) {
        assert_eq!(
            (config.private, config.postgres_changes.is_some()),
            (self.setting.private, self.setting.postgres_changes)
        );
        let (topic, name) = (project_topic(PROJECT), join.to_string());
        let reason = if self.token_ends <= self.wall() {
            self.injected("token_expired");
            Some("InvalidJWTToken: Token has expired 5 seconds ago")
        } else if self.inject(self.faults.refuse, "join_refused") {
            Some("Unauthorized: You do not have permissions to read from this Channel topic")
        } else {
            None
        };
        if let Some(reason) = reason {
            let refused = json!({"status": "error", "response": {"reason": reason}});
            return self.frame(5_000, Some(&name), Some(&name), &topic, "phx_reply", refused);
        }
        let earlier = self.line.joined.replace(join);
        self.frame(5, Some(&name), Some(&name), &topic, "phx_reply", json!({"status": "ok", "response": {}}));
        if let Some(earlier) = earlier {
            self.phx_close(6, earlier);
        }
        // A server that lost its stream opens it again at a new join, most of the time.
        self.line.stalled &= !self.calm && self.random.percent(30);
        self.line.streams_since = self.now;
        self.line.subscribed = false;
        self.channel_token(join);
        if config.postgres_changes.is_some() {
            self.later(2_500, Due::Subscribed(self.line.socket, join));
        }
        if !self.inject(self.faults.drop, "never_ready") {
            let ready = json!({"message": "Replication connection established", "status": "ok", "extension": "system"});
            self.frame(30, Some(&name), None, &topic, "system", ready);
        }
    }

    pub fn subscribed(&mut self, socket: u64, join: u64) {
        if (self.line.socket, self.line.joined) == (socket, Some(join)) {
            self.line.subscribed = true;
            let name = join.to_string();
            let ok = json!({"message": "Subscribed to PostgreSQL", "status": "ok", "extension": "postgres_changes"});
            self.frame(1, Some(&name), None, &project_topic(PROJECT), "system", ok);
        }
    }

    /// The channel is closed when its newest token expires.
    fn channel_token(&mut self, join: u64) {
        self.line.channel_ends = self.token_ends;
        let left = self.token_ends.saturating_sub(self.wall()).as_millis() as u64;
        self.later(left + 1, Due::ChannelTokenEnds(self.line.socket, join));
    }

    pub fn channel_token_ends(&mut self, socket: u64, join: u64) {
        let stands = (self.line.socket, self.line.joined) == (socket, Some(join));
        if stands && self.line.channel_ends <= self.wall() {
            self.injected("token_expired");
            let expired =
                json!({"message": "Token has expired 0 seconds ago", "status": "error", "extension": "system"});
            self.frame(1, Some(&join.to_string()), None, &project_topic(PROJECT), "system", expired);
            self.close_channel();
        }
    }

    pub fn renew(&mut self) {
        let works = !self.no_renewals && !self.inject(self.faults.renewal, "renewal");
        if self.no_renewals {
            self.injected("no_renewals");
        }
        let ms = 50 + self.random.below(if self.calm { 50 } else { 3_000 });
        self.later(ms, Due::Renewed(self.life, works));
    }

    pub fn renewed(&mut self, works: bool) {
        let result = if works {
            self.token_ends = self.wall() + self.setting.token_life;
            Ok(Renewal { token: Some(NewToken { lifetime: Some(self.setting.token_life) }) })
        } else {
            Err(RenewalError::Retry("not now".into()))
        };
        self.agent.handle(self.now, Input::Renewed(result));
    }

    /// The channel is joined, and events have arrived for this long.
    pub fn has_streamed_for(&self, time: Duration) -> bool {
        self.line.joined.is_some() && self.now.since(self.line.streams_since) >= time
    }
}
