use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::rng::Rng;
use crate::{DegradedReason, Event, Output, RejectReason, SkipReason, Time};

/// What every part of the agent works with during one call: the time, the random generator, and its outputs.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub now: Time,
    pub rng: &'a mut Rng,
    pub outputs: &'a mut VecDeque<Output>,
    pub signals: &'a mut VecDeque<Signal>,
    pub degraded: &'a mut BTreeSet<DegradedReason>,
}

/// A message from one part of the agent to the others.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Events arrive from now on: catch up.
    Streaming,
    /// An event of the project's topic.
    Broadcast { event: String, payload: Bytes },
    /// An event of the project's topic whose payload is not JSON.
    RawBroadcast { event: String },
    /// A row of `project_files` changed.
    RowChanged { payload: Bytes },
    /// The server or the database refused the token.
    TokenNeeded,
    /// A new token is in use.
    TokenRenewed,
    /// There will be no new token.
    TokenRefused,
    /// A read succeeded after reads had failed.
    ReadsWork,
    /// The database is ahead and the channel delivers nothing.
    StreamStalled,
}

impl Context<'_> {
    pub fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    pub fn degrade(&mut self, reason: DegradedReason, detail: impl Into<String>) {
        if self.degraded.insert(reason) {
            self.event(Event::Degraded { reason, detail: detail.into() });
        }
    }

    pub fn recover(&mut self, reason: DegradedReason) {
        if self.degraded.remove(&reason) {
            self.event(Event::Recovered { reason });
        }
    }

    pub fn rejected(&mut self, reason: RejectReason, detail: impl std::fmt::Display) {
        let detail = clip(detail.to_string());
        self.event(Event::Rejected { reason, detail });
    }

    pub fn skipped(&mut self, reason: SkipReason) {
        self.event(Event::Skipped { reason });
    }
}

/// The longest detail of an event, in bytes: text of a peer may have any size.
const MAX_DETAIL: usize = 500;

/// Shortens text that a peer sent to at most [`MAX_DETAIL`] bytes and an ellipsis.
pub(crate) fn clip(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        let end = (0..=MAX_DETAIL).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
