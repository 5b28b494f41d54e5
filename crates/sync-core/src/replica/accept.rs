use bytes::Bytes;

use super::Replica;
use crate::change::{Change, Entry, EntryKind};
use crate::cx::{Cx, Signal};
use crate::table::{Row, RowState};
use crate::wish::Origin;
use crate::{Content, ContentHash, Revision, Time};

impl Replica {
    /// Judges a change: old, next, from the future, or without a revision.
    pub(super) fn on_change(&mut self, cx: &mut Cx, change: Change, received: Time) {
        if !self.hydrated {
            return self.hold(cx, change, received);
        }
        if self.older.is_some() {
            return self.accept_by_version(cx, change, received);
        }
        let Some(revision) = change.revision else { return self.provisional(cx, change, received) };
        if revision <= self.known {
            return cx.skipped("old");
        }
        if revision > self.known.saturating_add(1) {
            self.hold(cx, change, received);
            return self.wish_catch_up(cx.now, "gap");
        }
        self.accept_next(cx, change, revision, received);
        self.drain_held(cx);
    }

    fn accept_next(&mut self, cx: &mut Cx, change: Change, revision: Revision, received: Time) {
        if change.partial || !change.entries.iter().all(is_whole) {
            cx.skipped("incomplete");
            return self.wish_catch_up(cx.now, "incomplete_event");
        }
        self.known = revision;
        self.head = self.head.max(Some(revision));
        self.head_poll.accepted(cx.now, revision);
        let bulk = change.bulk;
        self.apply(
            cx,
            change,
            received,
            |entry, old| {
                let newer = old.is_none_or(|old| {
                    old.revision < revision || (old.revision == revision && old.version < entry.version)
                });
                newer.then(|| row_of(entry, revision))?
            },
            bulk.then_some(revision),
        );
    }

    /// Puts the rows of a change that `judge` finds newer, then lets the disk follow.
    pub(super) fn apply(
        &mut self,
        cx: &mut Cx,
        change: Change,
        received: Time,
        judge: impl Fn(&Entry, Option<&Row>) -> Option<Row>,
        revision: Option<Revision>,
    ) {
        let group = change.bulk.then(|| self.disk.group(cx.now, revision.or(change.revision), true));
        let origin = Origin { received, sent_at_ms: change.sent_at_ms, group };
        for entry in change.entries {
            let Some(row) = judge(&entry, self.table.get(&entry.path)) else { continue };
            self.table.put(&entry.path, row);
            let content = match (entry.kind, row.hash()) {
                (EntryKind::Update { content: Some(content), .. }, Some(hash)) => {
                    verified(cx, &entry.path, content, hash).map(Content::Bytes)
                }
                _ => None,
            };
            self.follow_row(cx, &entry.path, content, origin);
        }
        if let Some(group) = group {
            self.disk.end_group(group);
        }
    }

    /// Keeps a change until it can be judged. When too much is kept all of it is forgotten and read instead.
    pub(super) fn hold(&mut self, cx: &mut Cx, change: Change, received: Time) {
        if !self.held.hold(change, received) {
            cx.skipped("held_too_many");
            self.wish_catch_up(cx.now, "held_too_many");
        }
    }

    /// Judges what is held, as far as it goes without a hole.
    pub(super) fn drain_held(&mut self, cx: &mut Cx) {
        for event in self.held.take_others() {
            self.on_change(cx, event.change, event.received);
        }
        while let Some((revision, _)) = self.held.first().filter(|_| self.hydrated) {
            if revision > self.known.saturating_add(1) {
                break;
            }
            let Some(event) = self.held.take_first() else { break };
            if revision <= self.known {
                cx.skipped("old");
                continue;
            }
            self.accept_next(cx, event.change, revision, event.received);
            if self.known < revision {
                break;
            }
        }
        if self.held.first().is_some() && self.catch_up.is_none() && self.wished.is_none() {
            self.wish_catch_up(cx.now, "gap");
        }
    }

    /// After a catch-up: what it should have closed and did not is dropped.
    pub(super) fn drop_unreachable(&mut self, cx: &mut Cx) {
        while let Some((revision, true)) = self.held.first() {
            if revision <= self.known.saturating_add(1) {
                break;
            }
            self.held.take_first();
            cx.skipped("unreachable");
        }
    }

    /// The database is ahead and the channel silent.
    pub(super) fn deaf(&mut self, cx: &mut Cx) {
        cx.signal(Signal::Deaf);
    }
}

/// An entry that can become a row: a delete with its version, an update with version and hash.
fn is_whole(entry: &Entry) -> bool {
    entry.version.is_some() && !matches!(entry.kind, EntryKind::Update { hash: None, .. })
}

/// The row that an entry makes, where it has what a row needs.
pub(super) fn row_of(entry: &Entry, revision: Revision) -> Option<Row> {
    let state = match &entry.kind {
        EntryKind::Delete => RowState::Tombstone,
        EntryKind::Update { hash, size, .. } => RowState::Live { hash: (*hash)?, size: *size },
    };
    Some(Row { version: Some(entry.version?), revision, state })
}

/// The content, if it hashes to what it should.
pub(super) fn verified(cx: &mut Cx, path: &str, content: Bytes, hash: &ContentHash) -> Option<Bytes> {
    let got = ContentHash::of(&content);
    if got == *hash {
        return Some(content);
    }
    cx.rejected("content_hash", format!("{path}: the content of an event hashes to {got}, not to {hash}"));
    None
}
