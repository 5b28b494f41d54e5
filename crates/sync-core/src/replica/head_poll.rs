use std::time::Duration;

use super::reads::describe;
use super::state::Seen;
use super::{Purpose, Replica};
use crate::answer::Head;
use crate::backoff::Backoff;
use crate::cx::{Cx, clip, earliest};
use crate::{Answer, Read, ReadError, Reason, Revision, Time};

/// Between two looks at the head, with jitter: the channel may be joined and yet silent.
const POLL_LEAST: Duration = Duration::from_secs(25);
const POLL_MOST: Duration = Duration::from_secs(35);
/// While the asking fails.
const RETRY_BASE: Duration = Duration::from_secs(60);
const RETRY_CAP: Duration = Duration::from_secs(300);
/// A head that is still above the known revision after this time, with no event in between, was missed.
const BEHIND_AFTER: Duration = Duration::from_secs(2);
/// Between two full comparisons where the database has no `project_head`.
const WITHOUT_HEAD: Duration = Duration::from_secs(300);
/// Failures in a row after which reads count as failing.
const FAILING_AFTER: u32 = 2;

/// Looks at the database's head from time to time.
#[derive(Debug)]
pub(super) struct HeadPoll {
    next: Option<Time>,
    in_flight: bool,
    /// The head that is above ours, and when that will have lasted too long.
    behind: Option<(Revision, Time)>,
    /// The database has no `project_head`.
    missing: bool,
    backoff: Backoff,
}

impl HeadPoll {
    pub fn new() -> HeadPoll {
        let backoff = Backoff::new(POLL_LEAST, RETRY_BASE, RETRY_CAP);
        HeadPoll { next: None, in_flight: false, behind: None, missing: false, backoff }
    }

    pub fn schedule(&mut self, cx: &mut Cx) {
        self.next = Some(cx.now.after(cx.rng.between(POLL_LEAST, POLL_MOST)));
    }

    /// Look at once.
    pub fn now(&mut self, now: Time) {
        self.next = self.next.map(|next| next.min(now));
    }

    /// An event was accepted: the channel is not deaf.
    pub fn accepted(&mut self, now: Time, known: Revision) {
        self.behind = self.behind.filter(|(head, _)| *head > known).map(|(head, _)| (head, now.after(BEHIND_AFTER)));
    }

    pub fn caught_up(&mut self, known: Revision) {
        self.behind = self.behind.filter(|(head, _)| *head > known);
    }

    pub fn deadline(&self) -> Option<Time> {
        earliest([self.next.filter(|_| !self.in_flight), self.behind.map(|(_, at)| at)])
    }
}

impl Replica {
    pub(super) fn poll_head(&mut self, cx: &mut Cx) {
        if let Some((head, _)) = self.head_poll.behind.take_if(|(_, at)| *at <= cx.now)
            && head > self.known
        {
            cx.degrade(Reason::Behind, format!("the database is at {head}, known is {}", self.known));
            self.start_catch_up(cx, "behind");
            self.deaf(cx);
        }
        if self.head_poll.in_flight || self.head_poll.next.is_none_or(|next| next > cx.now) {
            return;
        }
        if self.older.is_some() {
            return self.head_poll.schedule(cx);
        }
        if self.head_poll.missing {
            self.head_poll.next = Some(cx.now.after(WITHOUT_HEAD));
            return self.start_catch_up(cx, "compare");
        }
        self.head_poll.in_flight = true;
        self.ask(cx, Read::Head, Purpose::Head { known: self.known });
    }

    pub(super) fn on_head(&mut self, cx: &mut Cx, asked_at: Revision, result: Result<Answer, ReadError>) {
        self.head_poll.in_flight = false;
        self.head_poll.schedule(cx);
        let head = match result {
            Ok(Answer::Json(json)) => Head::read(&json).map_err(|error| {
                cx.rejected("answer", &error);
                (error.to_string(), None)
            }),
            Ok(Answer::Staged(stage)) => {
                cx.outputs.push_back(crate::Output::Discard(stage));
                Err(("an object came for the head".into(), None))
            }
            Err(ReadError::NoSuchFunction) => {
                self.head_poll.missing = true;
                self.head_poll.next = Some(cx.now.after(WITHOUT_HEAD));
                return;
            }
            Err(error) => Err(describe(error)),
        };
        let Head { head, digest } = match head {
            Ok(head) => head,
            Err((error, least)) => return self.head_failed(cx, error, least),
        };
        self.head_poll.backoff.reset();
        if self.catch_up.is_none() {
            cx.recover(Reason::ReadsFailing);
        }
        self.head = Some(head.max(self.known));
        if head > self.known {
            self.head_poll.behind.get_or_insert((head, cx.now.after(BEHIND_AFTER))).0 = head;
        } else if head < asked_at {
            // Below what we knew when we asked: a restored backup. The listing says so with a reset.
            self.start_catch_up(cx, "head_below");
        } else if self.catch_up.is_none() {
            self.compare_digest(cx, head, digest, Seen::Changes);
        }
    }

    fn head_failed(&mut self, cx: &mut Cx, error: String, least: Option<Duration>) {
        let wait = self.head_poll.backoff.next(cx.rng).max(least.unwrap_or_default());
        self.head_poll.next = Some(cx.now.after(wait));
        if self.head_poll.backoff.attempts() >= FAILING_AFTER {
            cx.degrade(Reason::ReadsFailing, clip(error));
        }
    }
}
