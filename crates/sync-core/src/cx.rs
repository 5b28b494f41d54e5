use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::rng::Rng;
use crate::{Event, Output, Reason, Time};

/// What every part of the agent works with during one call: the time, the dice, and where its outputs go.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub now: Time,
    pub rng: &'a mut Rng,
    pub outputs: &'a mut VecDeque<Output>,
    pub signals: &'a mut VecDeque<Signal>,
    pub degraded: &'a mut BTreeSet<Reason>,
}

/// What one part tells the others.
#[derive(Debug)]
pub(crate) enum Signal {
    /// The channel streams: catch up.
    Streaming,
    /// An event of the project's topic.
    Broadcast { event: String, payload: Bytes },
    /// A row of `project_files` changed.
    RowChanged { payload: Bytes },
    /// Somebody was told that the token is no good (any more).
    TokenNeeded,
    /// A new token is in use.
    TokenRenewed,
    /// There will be no new token.
    TokenRefused,
    /// The database is ahead and the channel says nothing.
    Deaf,
}

impl Cx<'_> {
    pub fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    pub fn degrade(&mut self, reason: Reason, detail: impl Into<String>) {
        if self.degraded.insert(reason) {
            self.event(Event::Degraded { reason, detail: detail.into() });
        }
    }

    pub fn recover(&mut self, reason: Reason) {
        if self.degraded.remove(&reason) {
            self.event(Event::Recovered { reason });
        }
    }

    pub fn rejected(&mut self, reason: &'static str, detail: impl std::fmt::Display) {
        let detail = clip(detail.to_string());
        self.event(Event::Rejected { reason, detail });
    }

    pub fn skipped(&mut self, reason: &'static str) {
        self.event(Event::Skipped { reason });
    }
}

/// The longest detail of an event, in bytes: a peer's text may be of any size.
const MAX_DETAIL: usize = 500;

/// Cuts a text that others wrote to a bound.
pub(crate) fn clip(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        let end = (0..=MAX_DETAIL).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The earliest of the times that are set.
pub(crate) fn earliest(times: impl IntoIterator<Item = Option<Time>>) -> Option<Time> {
    times.into_iter().flatten().min()
}
