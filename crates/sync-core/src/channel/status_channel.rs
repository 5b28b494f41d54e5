use std::time::Duration;

use super::{Link, StatusMessage};
use crate::context::Context;
use crate::time::{Timer, TimerReason};
use crate::wire::{ClientMessage, JoinConfig, Push, ServerMessage, StatusEvent, status_topic};
use crate::{Backoff, Output, SkipReason, Time};

/// How long a join may take; after it the next attempt is due.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between joins: long, since a refusal blocks the whole socket for 5 s.
const RETRY_LEAST: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_secs(60);
const RETRY_CAP: Duration = Duration::from_secs(600);
/// Messages that wait for the join; the oldest makes room. As many as problems can be open, and their ends.
const MAX_WAITING: usize = 200;

/// The topic on which the agent publishes its status. It shares the socket of the project's channel and is joined after
/// it; nothing that happens here disturbs that channel.
#[derive(Debug)]
pub(crate) struct StatusChannel {
    topic: String,
    state: State,
    backoff: Backoff,
    /// Messages that wait for the join.
    waiting: Vec<StatusMessage>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    Joining { join_ref: u64, until: Time },
    Joined { join_ref: u64 },
    Refused { until: Time },
}

impl StatusChannel {
    pub fn new(project_id: &str) -> StatusChannel {
        StatusChannel {
            topic: status_topic(project_id),
            state: State::Idle,
            backoff: Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP),
            waiting: Vec::new(),
        }
    }

    pub fn main_joined(&mut self, cx: &mut Context, link: &mut Link) {
        if self.state == State::Idle {
            self.join(cx, link);
        }
    }

    pub fn socket_gone(&mut self) {
        self.state = State::Idle;
    }

    /// A new token is in use: push it, or join with it where the old one was refused.
    pub fn token_renewed(&mut self, cx: &mut Context, link: &mut Link) {
        match self.state {
            State::Joined { join_ref } => self.send(cx, link, join_ref, Push::AccessToken),
            State::Refused { .. } if link.is_open => {
                self.backoff.reset();
                self.join(cx, link);
            }
            State::Idle | State::Joining { .. } | State::Refused { .. } => {}
        }
    }

    pub fn publish(&mut self, cx: &mut Context, link: &mut Link, message: StatusMessage) {
        match self.state {
            State::Joined { join_ref } => {
                self.send(cx, link, join_ref, broadcast(message));
            }
            _ => {
                // Of a state only the newest counts; a problem and its end are events.
                match message.event {
                    StatusEvent::Status | StatusEvent::Applied | StatusEvent::Verdict => {
                        self.waiting.retain(|waiting| waiting.event != message.event);
                    }
                    StatusEvent::Problem | StatusEvent::Resolved => {}
                }
                if self.waiting.len() >= MAX_WAITING {
                    self.waiting.remove(0);
                }
                self.waiting.push(message);
            }
        }
    }

    pub fn on_message(&mut self, cx: &mut Context, link: &mut Link, message: ServerMessage) {
        if message.topic() != self.topic {
            return cx.skipped(SkipReason::OtherTopic);
        }
        let current = match self.state {
            State::Joining { join_ref, .. } | State::Joined { join_ref } => join_ref,
            State::Idle | State::Refused { .. } => return,
        };
        let ours = |join_ref: &Option<String>| join_ref.as_ref().is_none_or(|theirs| *theirs == current.to_string());
        match message {
            ServerMessage::Reply { reference, ok, .. } if reference == Some(current.to_string()) => {
                if ok {
                    self.joined(cx, link, current)
                } else {
                    self.refused(cx)
                }
            }
            ServerMessage::Close { join_ref, .. } | ServerMessage::Error { join_ref, .. } if ours(&join_ref) => {
                self.refused(cx);
            }
            ServerMessage::System { join_ref, ok: false, .. } if ours(&join_ref) => self.refused(cx),
            _ => {}
        }
    }

    pub fn tick(&mut self, cx: &mut Context, link: &mut Link) {
        match self.state {
            State::Joining { until, .. } if until <= cx.now => self.refused(cx),
            State::Refused { until } if until <= cx.now => {
                if link.is_open {
                    self.join(cx, link)
                } else {
                    self.state = State::Idle
                }
            }
            _ => {}
        }
    }

    pub fn deadline(&self) -> Option<Timer> {
        match self.state {
            State::Joining { until, .. } => Some(TimerReason::StatusJoinTimeout.at(until)),
            State::Refused { until } => Some(TimerReason::StatusRetry.at(until)),
            State::Idle | State::Joined { .. } => None,
        }
    }

    fn join(&mut self, cx: &mut Context, link: &mut Link) {
        let join_ref = *link.next_ref;
        let config = JoinConfig { private: true, replication_ready: false, postgres_changes: None };
        self.send(cx, link, join_ref, Push::Join(config));
        self.state = State::Joining { join_ref, until: cx.now.after(JOIN_TIMEOUT) };
    }

    fn joined(&mut self, cx: &mut Context, link: &mut Link, join_ref: u64) {
        if let State::Joined { .. } = self.state {
            return;
        }
        self.state = State::Joined { join_ref };
        self.backoff.reset();
        for message in std::mem::take(&mut self.waiting) {
            self.send(cx, link, join_ref, broadcast(message));
        }
    }

    fn refused(&mut self, cx: &mut Context) {
        self.state = State::Refused { until: cx.now.after(self.backoff.next(cx.rng)) };
    }

    fn send(&mut self, cx: &mut Context, link: &mut Link, join_ref: u64, push: Push) {
        let reference = *link.next_ref;
        *link.next_ref = link.next_ref.wrapping_add(1);
        let (protocol, topic) = (link.protocol, self.topic.clone());
        let message = ClientMessage { protocol, topic, join_ref: Some(join_ref), reference, push };
        cx.outputs.push_back(Output::Send(message));
    }
}

fn broadcast(message: StatusMessage) -> Push {
    Push::Broadcast { event: message.event.as_str().into(), payload: message.payload }
}
