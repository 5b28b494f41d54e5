//! Whether reads show what events announced.
//!
//! PostgreSQL streams a commit to logical decoding before other sessions see it, and a read replica is behind by some
//! time: a read that is sent because of an event can be older than the event. Such an answer is asked for again, and
//! undoes nothing, until it has been the same for [`BELIEVED_AFTER`]: then the event was forged, or a backup was
//! restored.

use std::time::Duration;

use super::active::ActiveReplica;
use crate::context::Context;
use crate::{CatchUpCause, DegradedReason, Revision, Time};

/// Waits before an answer that is too old is asked for again. The last one is below 1 s, so that a change is on disk
/// within 1 s of the moment at which it can be read.
const ASK_AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), LAST_WAIT];
/// The longest of these waits.
pub(super) const LAST_WAIT: Duration = Duration::from_millis(900);
/// An answer below what is known or announced is believed once it is still so after this time.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// `current` is claimed only while the head was seen within this time.
const HEAD_VALID_FOR: Duration = Duration::from_secs(60);

/// What events announced, and what reads have shown of it.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    /// The highest revision that an event announced: no answer should be below it.
    announced: Revision,
    /// The highest head that a read showed.
    shown: Revision,
    /// When a read last showed the head.
    shown_at: Option<Time>,
    /// Answers are below the known revision.
    below_known: Option<Shortfall>,
    /// Answers are below the announced revision.
    below_announced: Option<Shortfall>,
    /// Answers in a row that were too old.
    attempts: usize,
    /// When the replica began to follow the database.
    following_since: Time,
    /// The newest view of the head is too old, and that was reported.
    is_expired: bool,
}

/// An answer was below a revision that it should have reached.
#[derive(Debug, Clone, Copy)]
struct Shortfall {
    expected: Revision,
    since: Time,
}

/// The revisions that an answer should reach, as they were when its read was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expectation {
    sent: Time,
    known: Revision,
    announced: Revision,
}

/// How an answer's head compares with an expected revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadAge {
    /// It is as new as expected.
    Recent,
    /// It is older: ask again.
    TooOld,
    /// It is older, and was for so long that it is true.
    Believed,
}

impl Visibility {
    /// The replica begins to follow the database.
    pub fn begin(&mut self, now: Time) {
        self.following_since = now;
    }

    /// The database's state was compared, without a revision.
    pub fn compared(&mut self, now: Time) {
        self.shown_at = Some(now);
    }

    /// An event announced `revision`.
    pub fn announce(&mut self, revision: Revision) {
        self.announced = self.announced.max(revision);
    }

    /// Whether a read has shown a state at or above `revision`.
    pub fn has_shown(&self, revision: Revision) -> bool {
        self.shown >= revision
    }

    /// Whether answers are older than what events announced.
    pub fn is_lagging(&self) -> bool {
        self.below_known.is_some() || self.below_announced.is_some()
    }

    /// Whether events above the head may still become readable.
    pub fn may_become_readable(&self) -> bool {
        self.below_announced.is_some()
    }

    /// The wait after so many attempts at what was too old.
    fn ask_again_after(attempts: usize) -> Duration {
        ASK_AGAIN.get(attempts).copied().unwrap_or(LAST_WAIT)
    }

    /// The wait before the next attempt; each call makes the following one longer.
    fn next_wait(&mut self) -> Duration {
        let wait = Visibility::ask_again_after(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }

    pub fn expectation(&self, now: Time, known: Revision) -> Expectation {
        Expectation { sent: now, known, announced: self.announced }
    }

    /// Time passed that the clock did not count: how old the head is, is unknown.
    pub fn forget_head_age(&mut self) {
        self.shown_at = None;
    }

    /// The state that is known was replaced by an older one.
    pub fn reset_to(&mut self, head: Revision) {
        let (shown_at, following_since) = (self.shown_at, self.following_since);
        *self = Visibility { shown: head, announced: head, shown_at, following_since, ..Visibility::default() };
    }

    /// The announced revision does not exist.
    fn forget_announced(&mut self) {
        self.announced = 0;
        self.below_announced = None;
    }
}

/// Compares a head with an expected revision, and records since when it is too low.
fn compare(slot: &mut Option<Shortfall>, now: Time, sent: Time, head: Revision, expected: Revision) -> HeadAge {
    if let Some(shortfall) = slot.filter(|shortfall| head < shortfall.expected) {
        let is_believed = sent.since(shortfall.since) >= BELIEVED_AFTER;
        return if is_believed { HeadAge::Believed } else { HeadAge::TooOld };
    }
    // What was expected before is shown; what was expected of this answer may not be.
    *slot = (head < expected).then_some(Shortfall { expected, since: now });
    if slot.is_some() { HeadAge::TooOld } else { HeadAge::Recent }
}

/// Whether a version that the database does not have may not be readable yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MissingVersion {
    since: Time,
    attempts: usize,
}

impl MissingVersion {
    /// The wait before the next attempt; `None`: it was missing for too long.
    pub fn next_wait(slot: &mut Option<MissingVersion>, now: Time) -> Option<Duration> {
        let missing = slot.get_or_insert(MissingVersion { since: now, attempts: 0 });
        let wait = Visibility::ask_again_after(missing.attempts);
        missing.attempts = missing.attempts.saturating_add(1);
        (now.since(missing.since) < BELIEVED_AFTER).then_some(wait)
    }
}

impl ActiveReplica {
    /// A read showed that the database's head is `head`. The result is about the known revision: with `TooOld` a
    /// downward reset must not be obeyed.
    pub(super) fn head_shown(&mut self, cx: &mut Context, head: Revision, expected: Expectation) -> HeadAge {
        let since = self.catch_ups.running.as_ref().map_or(0, |running| running.since);
        let is_below_ours = head < self.known.max(since);
        let visibility = &mut self.visibility;
        visibility.shown = visibility.shown.max(head);
        visibility.shown_at = Some(cx.now);
        // What was expected when the read was sent may have been given up since.
        let Expectation { sent, known, announced } = expected;
        let (known, announced) = (known.min(self.known.max(since)), announced.min(visibility.announced));
        let below_announced = compare(&mut visibility.below_announced, cx.now, sent, head, announced);
        let below_known = compare(&mut visibility.below_known, cx.now, sent, head, known);
        if below_announced == HeadAge::Believed {
            visibility.forget_announced();
        }
        if below_known == HeadAge::Believed && !is_below_ours {
            visibility.below_known = None;
        }
        if below_known == HeadAge::TooOld || below_announced == HeadAge::TooOld {
            let wait = visibility.next_wait();
            let expected = announced.max(known);
            cx.degrade(
                DegradedReason::CommitNotVisible,
                format!("the database shows revision {head}, but revision {expected} was announced"),
            );
            self.ask_again(cx, wait);
        } else {
            visibility.attempts = 0;
        }
        below_known
    }

    /// A read showed a row of `revision`.
    pub(super) fn revision_shown(&mut self, revision: Revision) {
        let visibility = &mut self.visibility;
        visibility.shown = visibility.shown.max(revision);
        for slot in [&mut visibility.below_known, &mut visibility.below_announced] {
            *slot = slot.filter(|shortfall| shortfall.expected > revision);
        }
    }

    /// The database does not have a version of `revision`, which no read has shown yet.
    pub(super) fn revision_missing(&mut self, cx: &mut Context, revision: Revision) {
        self.visibility.below_known.get_or_insert(Shortfall { expected: revision, since: cx.now });
        cx.degrade(
            DegradedReason::CommitNotVisible,
            format!("revision {revision} was announced, and the database does not show it yet"),
        );
    }

    /// Reads again after `wait`: the changes where events are held for them, else the head alone.
    fn ask_again(&mut self, cx: &mut Context, wait: Duration) {
        let at = cx.now.after(wait);
        if self.held.first().is_none() && self.head_poll.can_poll() {
            self.head_poll.poll_at(at);
        } else {
            self.schedule_catch_up(at, CatchUpCause::CommitNotVisible);
        }
    }

    /// How old the newest view of the head is; `None`: it was never seen.
    pub(super) fn head_age(&self, now: Time) -> Option<Duration> {
        self.visibility.shown_at.map(|at| now.since(at))
    }

    /// Whether the head was seen recently enough to claim that nothing is missing.
    pub(super) fn is_head_recent(&self, now: Time) -> bool {
        self.head_age(now).is_some_and(|age| age < self.head_valid_for())
    }

    /// A legacy database has no head: there the comparison counts.
    fn head_valid_for(&self) -> Duration {
        match &self.legacy {
            Some(_) => super::legacy::COMPARE_EVERY.saturating_add(HEAD_VALID_FOR),
            None => HEAD_VALID_FOR,
        }
    }

    /// When the head becomes too old; `None`: it is already, or there is no database.
    pub(super) fn head_expires(&self) -> Option<Time> {
        let counts = self.settings.has_database && !self.visibility.is_expired;
        counts.then(|| self.visibility.shown_at.unwrap_or(self.visibility.following_since).after(self.head_valid_for()))
    }

    /// Reports where the head became too old, or recent again.
    pub(super) fn report_head_age(&mut self, cx: &mut Context) {
        if self.is_head_recent(cx.now) || !self.settings.has_database {
            self.visibility.is_expired = false;
            cx.recover(DegradedReason::HeadUnknown);
        } else if self.head_expires().is_some_and(|at| at <= cx.now) {
            self.visibility.is_expired = true;
            cx.degrade(DegradedReason::HeadUnknown, "the database's newest revision could not be read for a while");
        }
        if !self.visibility.is_lagging() {
            cx.recover(DegradedReason::CommitNotVisible);
        }
    }
}
