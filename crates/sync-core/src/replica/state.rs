//! A catch-up's last page makes a state: what follows from it.

use std::collections::BTreeMap;

use super::Replica;
use super::catch_up::{CatchUp, Kind};
use crate::answer::Changes;
use crate::cx::Cx;
use crate::digest::TableDigest;
use crate::table::{Row, RowState};
use crate::wish::Origin;
use crate::{Event, Reason, Revision};

/// How much of the database was looked at before its digest is compared with ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// Only what changed.
    Changes,
    /// All of it, over several pages. A backup may have been restored between two of them.
    Pages,
    /// All of it, at one moment.
    State,
}

/// The cause of a listing that repeats one whose pages may not fit together.
const AGAIN: &str = "digest_again";

/// A row that an event brought after the listing was made stands above it. One above the known revision was never
/// accepted: it is left of pages whose catch-up did not come to its end.
fn yields_to_listing(row: &Row, head: Revision, known: Revision) -> bool {
    row.revision <= head || row.revision > known
}

impl Replica {
    /// The last page came: only now it is a state.
    pub(super) fn complete(&mut self, cx: &mut Cx, head: Revision, digest: Option<TableDigest>) {
        let Some(mut catch_up) = self.catch_up.take() else { return };
        let full = match &mut catch_up.kind {
            Kind::Full { named, .. } => Some(std::mem::take(named)),
            _ => None,
        };
        let known = self.known;
        let replaced = |row: &Row| yields_to_listing(row, head, known);
        if let Some(named) = &full {
            let gone = self.unnamed(named, replaced);
            if self.asks_again(cx, &mut catch_up, &gone) {
                let repair = matches!(catch_up.kind, Kind::Full { repair: true, .. });
                return self.begin(cx, catch_up.cause, Kind::Full { named: BTreeMap::new(), repair }, true);
            }
            for path in gone {
                let version = self.table.get(&path).and_then(|row| row.version);
                self.put_row(cx, &path, Some(Row { version, revision: head, state: RowState::Tombstone }));
            }
            for (path, row) in named {
                let old = self.table.get(path);
                if old.is_none_or(|old| replaced(old) && !old.says_the_same(row)) {
                    self.put_row(cx, path, Some(*row));
                }
            }
        }
        self.known = self.known.max(head);
        let seen = match (&full, catch_up.pages) {
            (None, _) => Seen::Changes,
            (Some(_), 2..) => Seen::Pages,
            (Some(_), _) => Seen::State,
        };
        self.finished(cx, catch_up, head, digest, seen);
    }

    /// The answer replaces the table, tombstones included, also downwards.
    pub(super) fn on_reset(&mut self, cx: &mut Cx, changes: Changes) {
        let Changes { head, digest, files, .. } = changes;
        let Some(mut catch_up) = self.catch_up.take() else { return };
        let named: BTreeMap<String, Row> = files.into_iter().map(|file| (file.path, file.row)).collect();
        // A head below ours is a restored backup: what we know above it does not exist any more.
        let downwards = catch_up.since > head;
        let known = self.known;
        let replaced = |row: &Row| downwards || yields_to_listing(row, head, known);
        let gone = self.unnamed(&named, replaced);
        if self.asks_again(cx, &mut catch_up, &gone) {
            let kind = std::mem::replace(&mut catch_up.kind, Kind::Changes);
            let since = catch_up.since;
            self.begin(cx, catch_up.cause, kind, true);
            if let Some(catch_up) = &mut self.catch_up {
                catch_up.since = since;
            }
            return;
        }
        let unnamed: Vec<String> = self
            .table
            .iter()
            .filter(|(path, row)| !named.contains_key(*path) && replaced(row))
            .map(|(path, _)| path.to_owned())
            .collect();
        for path in unnamed {
            self.put_row(cx, &path, None);
        }
        for (path, row) in &named {
            if self.table.get(path).is_none_or(|old| replaced(old) && old != row) {
                self.put_row(cx, path, Some(*row));
            }
        }
        if downwards {
            self.known = head;
            self.held = Default::default();
            self.wish_catch_up(cx.now, "reset");
        }
        self.known = self.known.max(head);
        self.finished(cx, catch_up, head, digest, Seen::State);
    }

    pub(super) fn finished(
        &mut self,
        cx: &mut Cx,
        catch_up: CatchUp,
        head: Revision,
        digest: Option<TableDigest>,
        seen: Seen,
    ) {
        self.head = Some(self.known.max(head));
        self.catch_up_backoff.reset();
        cx.recover(Reason::ReadsFailing);
        self.head_poll.caught_up(self.known);
        self.settle_provisional(cx, catch_up.started);
        self.reconcile(cx);
        // Before the word is out that the catch-up ended, its files are under way.
        self.disk.flush(cx);
        let CatchUp { cause, from, started, rows, .. } = catch_up;
        cx.event(Event::CatchUp { cause, from, to: self.known, files: rows, took: cx.now.since(started) });
        self.drop_unreachable(cx);
        if let Some(stored) = digest {
            self.compare_digest(cx, head, stored, seen);
        }
        self.drain_held(cx);
    }

    /// Revisions equal and digests different: something is wrong with a row, ours or the database's digest.
    pub(super) fn compare_digest(&mut self, cx: &mut Cx, head: Revision, stored: TableDigest, seen: Seen) {
        if self.known != head || self.older.is_some() {
            return;
        }
        if self.table.digest() == stored {
            self.digest_wrong = None;
            return cx.recover(Reason::DigestWrong);
        }
        // Pages may not fit together however often they are read: two listings must have come to the same.
        let listing = (head, stored, self.table.digest());
        if seen == Seen::State || (seen == Seen::Pages && self.listed == Some(listing)) {
            self.digest_wrong = Some((head, stored));
            return cx.degrade(Reason::DigestWrong, format!("the database's digest {stored} is not that of its files"));
        }
        if self.digest_wrong != Some((head, stored)) && self.catch_up.is_none() {
            self.listed = (seen == Seen::Pages).then_some(listing);
            let cause = if seen == Seen::Pages { AGAIN } else { "digest" };
            self.begin(cx, cause, Kind::Full { named: BTreeMap::new(), repair: true }, false);
        }
    }

    /// Live paths of the table that a full listing does not name as live.
    pub(super) fn unnamed(&self, named: &BTreeMap<String, Row>, replaced: impl Fn(&Row) -> bool) -> Vec<String> {
        let gone = |path: &str, row: &Row| {
            row.is_live() && replaced(row) && named.get(path).is_none_or(|listed| !listed.is_live())
        };
        self.table.iter().filter(|(path, row)| gone(path, row)).map(|(path, _)| path.to_owned()).collect()
    }

    /// An answer that would remove over half of the owned files is asked for twice.
    pub(super) fn asks_again(&self, cx: &mut Cx, catch_up: &mut CatchUp, gone: &[String]) -> bool {
        let owned = |path: &&String| crate::ProjectPath::parse(path).is_ok_and(|path| self.disk.owns(&path));
        let removed = gone.iter().filter(owned).count();
        if catch_up.confirming || removed * 2 <= self.disk.owned() {
            return false;
        }
        cx.skipped("removal_asked_again");
        true
    }

    /// Replaces a row without regard to its revision.
    pub(super) fn put_row(&mut self, cx: &mut Cx, path: &str, row: Option<Row>) {
        match row {
            Some(row) => self.table.put(path, row),
            None => self.table.remove(path),
        }
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        self.follow_row(cx, path, None, origin);
    }
}
