//! Reading the database's head at intervals: a channel can be joined and deliver nothing.

use std::time::Duration;

use super::active::ActiveReplica;
use super::complete::ListingScope;
use super::reads::{ReadFailure, ReadPurpose};
use super::visibility::{Expectation, HeadAge};
use crate::context::{Context, Signal, clip};
use crate::time::{Timer, TimerReason, earliest};
use crate::wire::answer::Head;
use crate::{
    Answer, Backoff, CatchUpCause, DegradedReason, Output, Read, ReadError, RejectReason, Revision, Time, error_chain,
};

/// The time between two reads of the head, with jitter.
const POLL_LEAST: Duration = Duration::from_secs(25);
const POLL_MOST: Duration = Duration::from_secs(35);
/// Waits while the reads fail. The first are short, so that a single failure does not make the head's view too old.
const RETRY_LEAST: Duration = Duration::from_secs(2);
const RETRY_BASE: Duration = Duration::from_secs(10);
const RETRY_CAP: Duration = Duration::from_secs(300);
/// A head that is still above the known revision after this time, with no event in between, was missed.
const BEHIND_AFTER: Duration = Duration::from_secs(2);
/// Failures in a row after which reads count as failing.
const FAILING_AFTER: u32 = 2;

/// When the head is read next, and what the last read showed.
#[derive(Debug)]
pub(super) struct HeadPoll {
    /// `None`: the replica does not follow a database yet.
    next: Option<Time>,
    in_flight: bool,
    behind: Option<Behind>,
    function: HeadFunction,
    backoff: Backoff,
}

/// The head is above the known revision.
#[derive(Debug, Clone, Copy)]
struct Behind {
    head: Revision,
    /// When that has lasted for too long.
    until: Time,
}

/// Whether the database has `project_head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeadFunction {
    Present,
    Missing,
}

impl HeadPoll {
    pub fn new() -> HeadPoll {
        let backoff = Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP);
        HeadPoll { next: None, in_flight: false, behind: None, function: HeadFunction::Present, backoff }
    }

    pub fn schedule(&mut self, cx: &mut Context) {
        self.next = Some(cx.now.after(cx.rng.between(POLL_LEAST, POLL_MOST)));
    }

    /// Makes the next read due at `at`, if it is later.
    pub fn poll_at(&mut self, at: Time) {
        self.next = self.next.map(|next| next.min(at));
    }

    /// Whether the head can be read by itself.
    pub fn can_poll(&self) -> bool {
        self.next.is_some() && self.function == HeadFunction::Present
    }

    /// A read succeeded, on whatever path: the next read of the head is due after the usual time at the latest.
    pub fn read_succeeded(&mut self, cx: &mut Context) {
        self.backoff.reset();
        if self.next.is_some_and(|next| next > cx.now.after(POLL_MOST)) {
            self.schedule(cx);
        }
    }

    /// An event was accepted: the channel delivers.
    pub fn accepted(&mut self, now: Time, known: Revision) {
        let until = now.after(BEHIND_AFTER);
        self.behind = self.behind.filter(|behind| behind.head > known).map(|behind| Behind { until, ..behind });
    }

    pub fn caught_up(&mut self, known: Revision) {
        self.behind = self.behind.filter(|behind| behind.head > known);
    }

    pub fn deadline(&self) -> Option<Timer> {
        let next = self.next.filter(|_| !self.in_flight).map(|at| TimerReason::HeadPoll.at(at));
        earliest([next, self.behind.map(|behind| TimerReason::BehindTimeout.at(behind.until))])
    }
}

impl ActiveReplica {
    pub(super) fn poll_head(&mut self, cx: &mut Context) {
        if let Some(Behind { head, .. }) = self.head_poll.behind.take_if(|behind| behind.until <= cx.now)
            && head > self.known
        {
            let detail = format!("the database is at revision {head}, known is {}", self.known);
            cx.degrade(DegradedReason::Behind, detail);
            self.start_catch_up(cx, CatchUpCause::Behind);
            cx.signal(Signal::StreamStalled);
        }
        if self.head_poll.in_flight || self.head_poll.next.is_none_or(|next| next > cx.now) {
            return;
        }
        if self.legacy.is_some() {
            return self.head_poll.schedule(cx);
        }
        if self.head_poll.function == HeadFunction::Missing {
            self.head_poll.schedule(cx);
            return self.start_catch_up(cx, CatchUpCause::Compare);
        }
        self.head_poll.in_flight = true;
        self.send_read(cx, Read::Head, ReadPurpose::Head);
    }

    pub(super) fn on_head(&mut self, cx: &mut Context, expected: Expectation, result: Result<Answer, ReadError>) {
        self.head_poll.in_flight = false;
        self.head_poll.schedule(cx);
        let head = match result {
            Ok(Answer::Json(json)) => Head::read(&json).map_err(|error| {
                cx.rejected(RejectReason::Answer, error_chain(&error));
                ReadFailure::new(error_chain(&error))
            }),
            Ok(Answer::Staged(stage)) => {
                cx.outputs.push_back(Output::Discard(stage));
                Err(ReadFailure::new("the answer for the head is a stored object"))
            }
            Err(ReadError::NoSuchFunction) => {
                self.head_poll.function = HeadFunction::Missing;
                self.head_poll.poll_at(cx.now);
                return;
            }
            Err(error) => Err(error.into()),
        };
        let Head { head, digest } = match head {
            Ok(head) => head,
            Err(failure) => return self.head_failed(cx, failure),
        };
        if self.catch_ups.running.is_none() {
            cx.recover(DegradedReason::ReadsFailing);
        }
        let age = self.head_shown(cx, head, expected);
        self.head = Some(head.max(self.known));
        self.drop_unreachable(cx);
        if age != HeadAge::TooOld
            && let Some(running) = self.running_catch_up()
        {
            // It may have waited for this.
            running.resume(cx.now);
        }
        if head > self.known {
            let until = cx.now.after(BEHIND_AFTER);
            self.head_poll.behind.get_or_insert(Behind { head, until }).head = head;
        } else if age == HeadAge::Believed {
            // A restored backup, or the revision of an event was forged. The listing shows that as a reset.
            self.start_catch_up(cx, CatchUpCause::HeadBelow);
        } else if age == HeadAge::Recent && self.catch_ups.running.is_none() {
            self.compare_digest(cx, head, digest, ListingScope::Changes);
        }
    }

    fn head_failed(&mut self, cx: &mut Context, failure: ReadFailure) {
        let wait = self.head_poll.backoff.next(cx.rng).max(failure.least);
        self.head_poll.next = Some(cx.now.after(wait));
        if self.head_poll.backoff.attempts() >= FAILING_AFTER {
            cx.degrade(DegradedReason::ReadsFailing, clip(failure.error));
        }
    }
}
