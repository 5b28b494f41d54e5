use std::collections::BTreeMap;
use std::time::Duration;

use super::active::ActiveReplica;
use super::fetch::Fetch;
use super::visibility::Expectation;
use crate::context::{Context, Signal};
use crate::{Answer, Output, Read, ReadError, ReadId, SkipReason, Time};

/// Where some reads succeed and others fail, what waits is retried at most this often.
const RETRY_ALL_EVERY: Duration = Duration::from_secs(5);

/// The reads that are under way.
#[derive(Debug)]
pub(super) struct Reads {
    running: BTreeMap<ReadId, RunningRead>,
    last_id: u64,
    /// When the newest token was taken into use: reads sent before may fail because of the old one.
    pub token_since: Time,
    /// A read failed because the database could not be reached, and none succeeded since.
    is_outage: bool,
    /// When the end of an outage was last acted on.
    retried_at: Option<Time>,
}

#[derive(Debug)]
struct RunningRead {
    purpose: ReadPurpose,
    sent: Time,
    expected: Expectation,
}

/// What a read was sent for.
#[derive(Debug)]
pub(super) enum ReadPurpose {
    CatchUp,
    Head,
    Fetch(Fetch),
}

impl Reads {
    pub fn new(token_since: Time) -> Reads {
        Reads { running: BTreeMap::new(), last_id: 0, token_since, is_outage: false, retried_at: None }
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
        // The pages of a catch-up can be above the known revision already.
        let since = self.catch_ups.running.as_ref().map_or(0, |running| running.since);
        let known = if let ReadPurpose::CatchUp = purpose { self.known.max(since) } else { self.known };
        let expected = self.visibility.expectation(cx.now, known);
        self.reads.running.insert(id, RunningRead { purpose, sent: cx.now, expected });
        cx.outputs.push_back(Output::Read(id, read));
        id
    }

    pub(super) fn on_read(&mut self, cx: &mut Context, id: ReadId, result: Result<Answer, ReadError>) {
        let Some(RunningRead { purpose, sent, expected }) = self.reads.running.remove(&id) else {
            return discard_unknown(cx, result);
        };
        if let Err(ReadError::Unauthorized(_)) = &result {
            // A read that was sent with the token before this one is only sent again.
            if sent >= self.reads.token_since {
                cx.signal(Signal::TokenNeeded);
            }
        }
        self.note_outage(cx, &result);
        match purpose {
            ReadPurpose::CatchUp => self.on_page(cx, id, expected, result),
            ReadPurpose::Head => self.on_head(cx, expected, result),
            ReadPurpose::Fetch(fetch) => self.on_fetched(cx, id, fetch, result),
        }
        self.pump(cx);
    }
}

impl ActiveReplica {
    /// Watches for the end of an outage: no backoff outlives a success on another path.
    fn note_outage(&mut self, cx: &mut Context, result: &Result<Answer, ReadError>) {
        match result {
            Err(ReadError::Unavailable { .. }) => self.reads.is_outage = true,
            // The database answered.
            Ok(_) | Err(ReadError::Gone | ReadError::NoSuchFunction) => {
                self.head_poll.read_succeeded(cx);
                let is_soon = |at: Time| cx.now.since(at) < RETRY_ALL_EVERY;
                if std::mem::take(&mut self.reads.is_outage) && !self.reads.retried_at.is_some_and(is_soon) {
                    self.reads.retried_at = Some(cx.now);
                    self.catch_ups.outage_ended(cx.now);
                    self.disk.retry_fetches(cx.now);
                    cx.signal(Signal::ReadsWork);
                }
            }
            Err(_) => {}
        }
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
