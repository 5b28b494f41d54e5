use std::collections::BTreeMap;
use std::time::Duration;

use super::active::ActiveReplica;
use super::fetch::Fetch;
use crate::context::{Context, Signal};
use crate::{Answer, Output, Read, ReadError, ReadId, Revision, SkipReason, Time};

/// The reads that are under way.
#[derive(Debug)]
pub(super) struct Reads {
    running: BTreeMap<ReadId, RunningRead>,
    last_id: u64,
    /// When the newest token was taken into use: reads sent before may fail because of the old one.
    pub token_since: Time,
}

#[derive(Debug)]
struct RunningRead {
    purpose: ReadPurpose,
    sent: Time,
}

/// What a read was sent for.
#[derive(Debug)]
pub(super) enum ReadPurpose {
    CatchUp,
    /// The head; `known` is the revision that was known when the read was sent.
    Head {
        known: Revision,
    },
    Fetch(Fetch),
}

impl Reads {
    pub fn new(token_since: Time) -> Reads {
        Reads { running: BTreeMap::new(), last_id: 0, token_since }
    }

    /// How many contents are being fetched.
    pub fn fetches(&self) -> usize {
        self.running.values().filter(|read| matches!(read.purpose, ReadPurpose::Fetch(_))).count()
    }
}

impl ActiveReplica {
    pub(super) fn send_read(&mut self, cx: &mut Context, read: Read, purpose: ReadPurpose) -> ReadId {
        self.reads.last_id = self.reads.last_id.wrapping_add(1);
        let id = ReadId(self.reads.last_id);
        self.reads.running.insert(id, RunningRead { purpose, sent: cx.now });
        cx.outputs.push_back(Output::Read(id, read));
        id
    }

    pub(super) fn on_read(&mut self, cx: &mut Context, id: ReadId, result: Result<Answer, ReadError>) {
        let Some(RunningRead { purpose, sent }) = self.reads.running.remove(&id) else {
            return discard_unknown(cx, result);
        };
        if let Err(ReadError::Unauthorized(_)) = &result {
            // A read that was sent with the token before this one is only sent again.
            if sent >= self.reads.token_since {
                cx.signal(Signal::TokenNeeded);
            }
        }
        match purpose {
            ReadPurpose::CatchUp => self.on_page(cx, id, result),
            ReadPurpose::Head { known } => self.on_head(cx, known, result),
            ReadPurpose::Fetch(fetch) => self.on_fetched(cx, id, fetch, result),
        }
        self.pump(cx);
    }
}

/// Counts the answer of a read that is not under way, and releases what it brought.
pub(super) fn discard_unknown(cx: &mut Context, result: Result<Answer, ReadError>) {
    if let Ok(Answer::Staged(stage)) = result {
        cx.outputs.push_back(Output::Discard(stage));
    }
    cx.skipped(SkipReason::UnknownRead);
}

/// A read that failed.
#[derive(Debug)]
pub(super) struct ReadFailure {
    pub error: String,
    /// The shortest wait that the server asked for.
    pub least: Duration,
}

impl ReadFailure {
    pub fn new(error: impl Into<String>) -> ReadFailure {
        ReadFailure { error: error.into(), least: Duration::ZERO }
    }
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> ReadFailure {
        let text = match error {
            ReadError::NoSuchFunction => "the database does not have this function".into(),
            ReadError::Gone => "not found".into(),
            ReadError::Unauthorized(error) => format!("unauthorized: {error}"),
            ReadError::Forbidden(error) => format!("forbidden: {error}"),
            ReadError::WrongHash { got } => format!("the content hashes to {got}"),
            ReadError::Unusable(error) => format!("unusable answer: {error}"),
            ReadError::Unavailable { error, retry_after } => {
                return ReadFailure { error, least: retry_after.unwrap_or_default() };
            }
        };
        ReadFailure::new(text)
    }
}
