//! Judging events: old, the next one, one that comes too early, or one without a revision.

use std::time::Duration;

use bytes::Bytes;

use super::active::ActiveReplica;
use super::pending_write::{GroupKind, Origin};
use crate::context::Context;
use crate::files::table::{Row, RowState};
use crate::wire::event_payload::{Change, Entry, EntryKind};
use crate::{CatchUpCause, Content, ContentHash, RejectReason, Revision, SkipReason, Time};

/// A read confirms an accepted event within this time: its revision may be forged.
const CONFIRM_EVENT_WITHIN: Duration = Duration::from_secs(20);

impl ActiveReplica {
    pub(super) fn on_change(&mut self, cx: &mut Context, change: Change, received: Time) {
        if self.legacy.is_some() {
            return self.accept_by_version(cx, change, received);
        }
        let Some(revision) = change.revision else { return self.on_provisional(cx, change, received) };
        if revision <= self.known {
            return cx.skipped(SkipReason::Old);
        }
        self.visibility.announce(revision);
        if revision > self.known.saturating_add(1) {
            self.hold(cx, change, received);
            return self.schedule_catch_up(cx.now, CatchUpCause::Gap);
        }
        self.accept_next(cx, change, revision, received);
        self.drain_held(cx);
    }

    fn accept_next(&mut self, cx: &mut Context, change: Change, revision: Revision, received: Time) {
        if change.partial || !change.entries.iter().all(is_whole) {
            cx.skipped(SkipReason::Incomplete);
            return self.schedule_catch_up(cx.now, CatchUpCause::IncompleteEvent);
        }
        self.known = revision;
        self.head = self.head.max(Some(revision));
        self.head_poll.accepted(cx.now, revision);
        self.head_poll.poll_at(cx.now.after(CONFIRM_EVENT_WITHIN));
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

    /// Puts the rows of a change into the table where `judge` returns one, and makes them the disk's targets.
    pub(super) fn apply(
        &mut self,
        cx: &mut Context,
        change: Change,
        received: Time,
        judge: impl Fn(&Entry, Option<&Row>) -> Option<Row>,
        revision: Option<Revision>,
    ) {
        let group = change.bulk.then(|| self.disk.open_group(cx.now, revision.or(change.revision), GroupKind::Bulk));
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
            self.disk.close_group(group);
        }
    }

    /// Holds a change until it can be judged. Where too many are held, all are dropped and read instead.
    pub(super) fn hold(&mut self, cx: &mut Context, change: Change, received: Time) {
        if !self.held.hold(change, received) {
            cx.skipped(SkipReason::HeldTooMany);
            self.schedule_catch_up(cx.now, CatchUpCause::HeldTooMany);
        }
    }

    /// Judges the held events, up to the first gap.
    pub(super) fn drain_held(&mut self, cx: &mut Context) {
        for event in self.held.take_without_revision() {
            self.on_change(cx, event.change, event.received);
        }
        while let Some((revision, _)) = self.held.first() {
            if revision > self.known.saturating_add(1) {
                break;
            }
            let Some(event) = self.held.take_first() else { break };
            if revision <= self.known {
                cx.skipped(SkipReason::Old);
                continue;
            }
            self.accept_next(cx, event.change, revision, event.received);
            if self.known < revision {
                break;
            }
        }
        let is_reading = self.catch_ups.running.is_some() || self.catch_ups.scheduled.is_some();
        if self.held.first().is_some() && !is_reading {
            self.schedule_catch_up(cx.now, CatchUpCause::Gap);
        }
    }

    /// After a catch-up: drops the held events whose gap it should have closed and did not. A gap that may only not be
    /// readable yet is waited for.
    pub(super) fn drop_unreachable(&mut self, cx: &mut Context) {
        if self.visibility.may_become_readable() {
            return;
        }
        while let Some((revision, true)) = self.held.first() {
            if revision <= self.known.saturating_add(1) {
                break;
            }
            self.held.take_first();
            cx.skipped(SkipReason::Unreachable);
        }
    }
}

/// Whether an entry can become a row: a delete with its version, an update with version and hash.
fn is_whole(entry: &Entry) -> bool {
    entry.version.is_some() && !matches!(entry.kind, EntryKind::Update { hash: None, .. })
}

/// The row that an entry becomes, where it has everything that a row needs.
pub(super) fn row_of(entry: &Entry, revision: Revision) -> Option<Row> {
    let state = match &entry.kind {
        EntryKind::Delete => RowState::Tombstone,
        EntryKind::Update { hash, size, .. } => RowState::Live { hash: (*hash)?, size: *size },
    };
    Some(Row { version: Some(entry.version?), revision, state })
}

/// The content, if it has this hash.
pub(super) fn verified(cx: &mut Context, path: &str, content: Bytes, hash: &ContentHash) -> Option<Bytes> {
    let got = ContentHash::of(&content);
    if got == *hash {
        return Some(content);
    }
    let detail = format!("{path}: the content of an event hashes to {got}, not to {hash}");
    cx.rejected(RejectReason::ContentHash, detail);
    None
}
