//! Databases that have only `list_current_files`: there versions decide, not revisions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::accept::row_of;
use super::active::ActiveReplica;
use super::catch_up::{Confirmation, Listing, MAX_PAGES, MAX_ROWS, RunningCatchUp};
use super::complete::ListingScope;
use crate::context::Context;
use crate::files::table::{Row, RowState};
use crate::time::{Timer, TimerReason};
use crate::wire::answer::Listed;
use crate::wire::event_payload::{Change, EntryKind, read_row};
use crate::{CatchUpCause, ContentHash, DegradedReason, Time};

/// The time between two comparisons with the legacy listing.
pub(super) const COMPARE_EVERY: Duration = Duration::from_secs(300);
/// How much older than a listing an event must be before the listing may contradict it: an optimistic sender sends an
/// event before it saves.
const SETTLE_AFTER: Duration = Duration::from_secs(10);
/// Several nudges within this time are one.
const NUDGE_DELAY: Duration = Duration::from_millis(200);

/// What is known of a legacy database.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// When the next comparison is due; `None`: the first one is not complete.
    next: Option<Time>,
    is_compared: bool,
    /// When events last named a path.
    named: BTreeMap<String, Time>,
}

impl Legacy {
    pub fn is_compared(&self) -> bool {
        self.is_compared
    }

    pub fn compared(&mut self, now: Time) {
        self.is_compared = true;
        self.next = Some(now.after(COMPARE_EVERY));
        self.named.retain(|_, at| now.since(*at) < SETTLE_AFTER);
    }

    /// Whether a listing begun at `started` surely includes what events brought for the path.
    fn is_settled(&self, path: &str, started: Time) -> bool {
        self.named.get(path).is_none_or(|at| at.after(SETTLE_AFTER) <= started)
    }

    pub fn deadline(&self) -> Option<Timer> {
        self.next.map(|at| TimerReason::LegacyCompare.at(at))
    }
}

impl ActiveReplica {
    pub(super) fn tick_legacy(&mut self, cx: &mut Context) {
        let Some(legacy) = &mut self.legacy else { return };
        if legacy.next.take_if(|next| *next <= cx.now).is_some() {
            self.start_catch_up(cx, CatchUpCause::Compare);
        }
    }

    /// A row of the table changed: a reason to read; in a legacy database, a change by itself.
    pub(super) fn row_changed(&mut self, cx: &mut Context, payload: &[u8]) {
        match (self.legacy.is_some(), read_row(payload)) {
            (true, Some(entry)) => {
                let change =
                    Change { revision: None, sent_at_ms: None, bulk: false, partial: false, entries: vec![entry] };
                self.accept_by_version(cx, change, cx.now);
            }
            _ => self.schedule_catch_up(cx.now.after(NUDGE_DELAY), CatchUpCause::RowChanged),
        }
        self.pump(cx);
    }

    /// Accepts a change by the versions of its files.
    pub(super) fn accept_by_version(&mut self, cx: &mut Context, mut change: Change, received: Time) {
        for entry in &mut change.entries {
            if let EntryKind::Update { hash: hash @ None, content: Some(content), .. } = &mut entry.kind {
                *hash = Some(ContentHash::of(content));
            }
        }
        if change.partial || change.entries.iter().any(|entry| row_of(entry, 0).is_none()) {
            self.schedule_catch_up(cx.now.after(NUDGE_DELAY), CatchUpCause::IncompleteEvent);
        }
        let known = self.known;
        if let Some(legacy) = &mut self.legacy {
            legacy.named.extend(change.entries.iter().map(|entry| (entry.path.clone(), cx.now)));
        }
        self.apply(
            cx,
            change,
            received,
            |entry, old| {
                let newer = old.is_none_or(|old| old.version < entry.version);
                newer.then(|| row_of(entry, old.map_or(known, |old| old.revision)))?
            },
            None,
        );
    }

    /// The database has no `list_project_changes`: lists its files in the legacy way.
    pub(super) fn found_legacy(&mut self, cx: &mut Context) {
        let Some(RunningCatchUp { cause, .. }) = self.catch_ups.running.take() else { return };
        cx.degrade(DegradedReason::LegacyDatabase, "the database has no list_project_changes");
        self.legacy = Some(Legacy::default());
        self.begin(cx, cause, Listing::legacy(), Confirmation::Needed);
        self.send_page(cx);
        self.drain_held(cx);
    }

    pub(super) fn on_legacy_page(&mut self, cx: &mut Context, files: Vec<Listed>) {
        let Some(running) = self.running_catch_up() else { return };
        let Listing::Legacy { listed, after } = &mut running.listing else { return };
        running.pages = running.pages.saturating_add(1);
        running.rows = running.rows.saturating_add(files.len());
        running.next_page_at = cx.now;
        let Some(last) = files.last().map(|file| file.path.clone()) else {
            let listed = std::mem::take(listed);
            return self.complete_legacy(cx, listed);
        };
        let before = listed.len();
        listed.extend(files.into_iter().map(|file| (file.path, file.row)));
        *after = last;
        if listed.len() == before {
            return self.restart_catch_up(cx, "a page of list_current_files has no path that the pages before lack");
        }
        if running.pages > MAX_PAGES || running.rows > MAX_ROWS {
            return self.restart_catch_up(cx, "the pages of list_current_files do not end");
        }
        self.send_page(cx);
    }

    fn complete_legacy(&mut self, cx: &mut Context, listed: BTreeMap<String, Row>) {
        let Some(running) = self.catch_ups.running.take() else { return };
        let is_settled = |replica: &ActiveReplica, path: &str| {
            replica.legacy.as_ref().is_none_or(|legacy| legacy.is_settled(path, running.started))
        };
        let mut gone = self.unlisted(&listed, |_| true);
        gone.retain(|path| is_settled(self, path));
        let mut changed: Vec<(&String, Row)> = Vec::new();
        for (path, row) in &listed {
            let old = self.table.get(path);
            let is_newer = old.is_none_or(|old| old.version < row.version);
            let is_contradicted = old.is_some_and(|old| !old.has_same_content(row)) && is_settled(self, path);
            if is_newer || is_contradicted {
                let revision = old.map_or(self.known, |old| old.revision);
                changed.push((path, Row { revision, ..*row }));
            }
        }
        if self.needs_confirmation(cx, &running, &gone) {
            return self.begin(cx, running.cause, Listing::legacy(), Confirmation::Given);
        }
        for path in gone {
            let old = self.table.get(&path).copied();
            let version = old.and_then(|row| row.version);
            let revision = old.map_or(self.known, |row| row.revision);
            self.put_row(cx, &path, Some(Row { version, revision, state: RowState::Tombstone }));
        }
        for (path, row) in changed {
            self.put_row(cx, path, Some(row));
        }
        if let Some(legacy) = &mut self.legacy {
            legacy.compared(cx.now);
        }
        self.visibility.compared(cx.now);
        let known = self.known;
        self.finish_catch_up(cx, running, known, None, ListingScope::State);
    }
}
