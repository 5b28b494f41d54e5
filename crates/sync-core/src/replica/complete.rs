//! The last page of a catch-up completes a state: what follows from it.

use std::collections::BTreeMap;

use super::active::ActiveReplica;
use super::catch_up::{Confirmation, FullMode, Listing, RunningCatchUp};
use super::held_events::HeldEvents;
use super::pending_write::Origin;
use super::visibility::{BELIEVED_AFTER, Expectation, HeadAge, LAST_WAIT};
use crate::context::Context;
use crate::files::digest::TableDigest;
use crate::files::table::{Row, RowState};
use crate::wire::answer::Changes;
use crate::{CatchUpCause, DegradedReason, Event, ProjectPath, Revision, SkipReason};

/// How much of the database was read before its digest is compared with the table's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ListingScope {
    /// Only what changed.
    Changes,
    /// All of it, over several pages. A backup may have been restored between two of them.
    Pages,
    /// All of it, at one moment.
    State,
}

/// What earlier comparisons of the digests found.
#[derive(Debug, Default)]
pub(super) struct DigestCheck {
    /// The state for which a listing showed that the database's digest is wrong.
    wrong: Option<StoredDigest>,
    /// The last listing of several pages after which the digests differed.
    differing: Option<ComparedListing>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct StoredDigest {
    head: Revision,
    digest: TableDigest,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ComparedListing {
    stored: StoredDigest,
    /// The table's digest after it.
    table: TableDigest,
}

/// Whether a listing replaces `row`. A row that an event brought after the listing was made is newer than it. A row above
/// the known revision was never accepted: it is left from pages whose catch-up did not complete.
fn is_replaced_by_listing(row: &Row, head: Revision, known: Revision) -> bool {
    row.revision <= head || row.revision > known
}

impl ActiveReplica {
    /// The last page arrived: only now the pages are a state.
    pub(super) fn complete(
        &mut self,
        cx: &mut Context,
        head: Revision,
        digest: Option<TableDigest>,
        expected: Expectation,
    ) {
        let Some(mut running) = self.catch_ups.running.take() else { return };
        let full = match &mut running.listing {
            Listing::Full { listed, mode } => Some((std::mem::take(listed), *mode)),
            Listing::Changes | Listing::Legacy { .. } => None,
        };
        let known = self.known;
        let is_replaced = |row: &Row| is_replaced_by_listing(row, head, known);
        if let Some((listed, mode)) = &full {
            let gone = self.unlisted(listed, is_replaced);
            if self.needs_confirmation(cx, &running, &gone) {
                return self.begin(cx, running.cause, Listing::full(*mode), Confirmation::Given);
            }
            for path in gone {
                let version = self.table.get(&path).and_then(|row| row.version);
                self.put_row(cx, &path, Some(Row { version, revision: head, state: RowState::Tombstone }));
            }
            for (path, row) in listed {
                let old = self.table.get(path);
                if old.is_none_or(|old| is_replaced(old) && !old.has_same_content(row)) {
                    self.put_row(cx, path, Some(*row));
                }
            }
        }
        self.known = self.known.max(head);
        self.head_shown(cx, head, expected);
        let scope = match (&full, running.pages) {
            (None, _) => ListingScope::Changes,
            (Some(_), 2..) => ListingScope::Pages,
            (Some(_), _) => ListingScope::State,
        };
        self.finish_catch_up(cx, running, head, digest, scope);
    }

    /// The answer replaces the table, tombstones included, also downwards.
    pub(super) fn on_reset(&mut self, cx: &mut Context, changes: Changes, expected: Expectation) {
        let Changes { head, digest, files, .. } = changes;
        let Some(since) = self.running_catch_up().map(|running| running.since) else { return };
        let age = self.head_shown(cx, head, expected);
        if since > head && age == HeadAge::TooOld {
            return self.wait_for_commit(cx);
        }
        let Some(mut running) = self.catch_ups.running.take() else { return };
        let listed: BTreeMap<String, Row> = files.into_iter().map(|file| (file.path, file.row)).collect();
        // A head that stays below ours is a restored backup: what is known above it does not exist any more.
        let is_downwards = running.since > head;
        let known = self.known;
        let is_replaced = |row: &Row| is_downwards || is_replaced_by_listing(row, head, known);
        let gone = self.unlisted(&listed, is_replaced);
        if self.needs_confirmation(cx, &running, &gone) {
            let listing = std::mem::replace(&mut running.listing, Listing::Changes);
            let since = running.since;
            self.begin(cx, running.cause, listing, Confirmation::Given);
            if let Some(running) = self.running_catch_up() {
                running.since = since;
            }
            return;
        }
        let unlisted: Vec<String> = self
            .table
            .iter()
            .filter(|(path, row)| !listed.contains_key(*path) && is_replaced(row))
            .map(|(path, _)| path.to_owned())
            .collect();
        for path in unlisted {
            self.put_row(cx, &path, None);
        }
        for (path, row) in &listed {
            if self.table.get(path).is_none_or(|old| is_replaced(old) && old != row) {
                self.put_row(cx, path, Some(*row));
            }
        }
        if is_downwards {
            self.known = head;
            self.visibility.reset_to(head);
            self.held = HeldEvents::default();
            self.schedule_catch_up(cx.now, CatchUpCause::Reset);
        }
        self.known = self.known.max(head);
        self.finish_catch_up(cx, running, head, digest, ListingScope::State);
    }

    /// The answer may only be older than the last event: the catch-up goes on once the head shows whether it is. Where
    /// the head cannot be read, its own page is asked for again.
    fn wait_for_commit(&mut self, cx: &mut Context) {
        let wait = if self.head_poll.can_poll() { BELIEVED_AFTER } else { LAST_WAIT };
        let known = self.known;
        if let Some(running) = self.running_catch_up() {
            running.restart(known);
            running.next_page_at = cx.now.after(wait);
            running.is_paused = true;
            self.head_poll.poll_at(cx.now.after(LAST_WAIT));
        }
    }

    pub(super) fn finish_catch_up(
        &mut self,
        cx: &mut Context,
        finished: RunningCatchUp,
        head: Revision,
        digest: Option<TableDigest>,
        scope: ListingScope,
    ) {
        self.head = Some(self.known.max(head));
        self.catch_ups.backoff.reset();
        cx.recover(DegradedReason::ReadsFailing);
        self.head_poll.caught_up(self.known);
        self.settle_provisional(cx, finished.started);
        self.reconcile(cx);
        // The files are under way before the end of the catch-up is reported.
        self.disk.flush(cx);
        let RunningCatchUp { cause, from, started, rows, .. } = finished;
        cx.event(Event::CatchUp { cause, from, to: self.known, files: rows, took: cx.now.since(started) });
        self.drop_unreachable(cx);
        if let Some(digest) = digest {
            self.compare_digest(cx, head, digest, scope);
        }
        self.drain_held(cx);
    }

    /// Equal revisions with different digests: a row is wrong, in the table or in the database's digest.
    pub(super) fn compare_digest(
        &mut self,
        cx: &mut Context,
        head: Revision,
        digest: TableDigest,
        scope: ListingScope,
    ) {
        if self.known != head || self.legacy.is_some() {
            return;
        }
        if self.table.digest() == digest {
            self.digest_check.wrong = None;
            return cx.recover(DegradedReason::DigestWrong);
        }
        let stored = StoredDigest { head, digest };
        // Pages may not fit together however often they are read: two listings must have the same result.
        let compared = ComparedListing { stored, table: self.table.digest() };
        let is_confirmed = scope == ListingScope::Pages && self.digest_check.differing == Some(compared);
        if scope == ListingScope::State || is_confirmed {
            self.digest_check.wrong = Some(stored);
            let detail = format!("the database's digest {digest} is not that of its files");
            return cx.degrade(DegradedReason::DigestWrong, detail);
        }
        if self.digest_check.wrong != Some(stored) && self.catch_ups.running.is_none() {
            let is_again = scope == ListingScope::Pages;
            self.digest_check.differing = is_again.then_some(compared);
            let cause = if is_again { CatchUpCause::DigestAgain } else { CatchUpCause::Digest };
            self.begin(cx, cause, Listing::full(FullMode::Repair), Confirmation::Needed);
        }
    }

    /// Live paths of the table that a full listing does not have as live.
    pub(super) fn unlisted(&self, listed: &BTreeMap<String, Row>, is_replaced: impl Fn(&Row) -> bool) -> Vec<String> {
        let is_gone = |path: &str, row: &Row| {
            row.is_live() && is_replaced(row) && listed.get(path).is_none_or(|listed| !listed.is_live())
        };
        self.table.iter().filter(|(path, row)| is_gone(path, row)).map(|(path, _)| path.to_owned()).collect()
    }

    /// Whether an answer has to be asked for a second time: it would remove over half of the owned files.
    pub(super) fn needs_confirmation(&self, cx: &mut Context, running: &RunningCatchUp, gone: &[String]) -> bool {
        let is_owned = |path: &&String| ProjectPath::parse(path).is_ok_and(|path| self.disk.owns(&path));
        let removed = gone.iter().filter(is_owned).count();
        if running.confirmation == Confirmation::Given || removed.saturating_mul(2) <= self.disk.owned() {
            return false;
        }
        cx.skipped(SkipReason::RemovalAskedAgain);
        true
    }

    /// Replaces a row whatever its revision.
    pub(super) fn put_row(&mut self, cx: &mut Context, path: &str, row: Option<Row>) {
        match row {
            Some(row) => self.table.put(path, row),
            None => self.table.remove(path),
        }
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        self.follow_row(cx, path, None, origin);
    }
}
