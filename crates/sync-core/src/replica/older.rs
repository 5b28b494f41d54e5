use std::collections::BTreeMap;
use std::time::Duration;

use super::Replica;
use super::accept::row_of;
use super::catch_up::{Kind, MAX_PAGES, MAX_ROWS};
use super::state::Seen;
use crate::answer::Listed;
use crate::change::{Change, EntryKind, read_row};
use crate::cx::Cx;
use crate::table::{Row, RowState};
use crate::{ContentHash, Reason, Time};

/// Between two comparisons with the older listing.
const COMPARE_EVERY: Duration = Duration::from_secs(300);
/// How much older than a listing an event must be before the listing may contradict it: an optimistic sender tells
/// before it saves.
const SETTLE: Duration = Duration::from_secs(10);
/// Several nudges within this time are one.
const NUDGE_DELAY: Duration = Duration::from_millis(200);

/// What is kept while the database lacks the newer functions: there versions decide, not revisions.
#[derive(Debug)]
pub(super) struct Older {
    compared: bool,
    next: Option<Time>,
    /// When events last spoke of a path.
    touched: BTreeMap<String, Time>,
}

impl Older {
    pub fn new() -> Older {
        Older { compared: false, next: None, touched: BTreeMap::new() }
    }

    pub fn is_compared(&self) -> bool {
        self.compared
    }

    pub fn compared(&mut self, now: Time) {
        self.compared = true;
        self.next = Some(now.after(COMPARE_EVERY));
        self.touched.retain(|_, at| now.since(*at) < SETTLE);
    }

    /// A listing begun at `started` surely saw what events said of the path.
    pub fn is_settled(&self, path: &str, started: Time) -> bool {
        self.touched.get(path).is_none_or(|at| at.after(SETTLE) <= started)
    }

    pub fn deadline(&self) -> Option<Time> {
        self.next
    }
}

impl Replica {
    pub(super) fn tick_older(&mut self, cx: &mut Cx) {
        let Some(older) = &mut self.older else { return };
        if older.next.take_if(|next| *next <= cx.now).is_some() {
            self.start_catch_up(cx, "compare");
        }
    }

    /// A row of the table changed: a reason to read, and where there is nothing better, a change by itself.
    pub fn row_changed(&mut self, cx: &mut Cx, payload: &[u8]) {
        match (self.older.is_some(), read_row(payload)) {
            (true, Some(entry)) => {
                let change =
                    Change { revision: None, sent_at_ms: None, bulk: false, partial: false, entries: vec![entry] };
                self.accept_by_version(cx, change, cx.now);
            }
            _ => self.wish_catch_up(cx.now.after(NUDGE_DELAY), "row_changed"),
        }
        self.pump(cx);
    }

    /// Without the newer functions an event is accepted by its version.
    pub(super) fn accept_by_version(&mut self, cx: &mut Cx, mut change: Change, received: Time) {
        for entry in &mut change.entries {
            if let EntryKind::Update { hash: hash @ None, content: Some(content), .. } = &mut entry.kind {
                *hash = Some(ContentHash::of(content));
            }
        }
        if change.partial || change.entries.iter().any(|entry| row_of(entry, 0).is_none()) {
            self.wish_catch_up(cx.now.after(NUDGE_DELAY), "incomplete_event");
        }
        let known = self.known;
        if let Some(older) = &mut self.older {
            let touched = change.entries.iter().map(|entry| (entry.path.clone(), cx.now));
            older.touched.extend(touched);
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

    pub(super) fn found_older(&mut self, cx: &mut Cx) {
        let cause = self.catch_up.take().map_or("older", |catch_up| catch_up.cause);
        cx.degrade(Reason::OlderDatabase, "the database has no list_project_changes");
        self.older = Some(Older::new());
        self.begin(cx, cause, Kind::Older { named: BTreeMap::new(), after: String::new() }, false);
        self.send_page(cx);
        self.drain_held(cx);
    }

    pub(super) fn on_older_page(&mut self, cx: &mut Cx, files: Vec<Listed>) {
        let Some(catch_up) = &mut self.catch_up else { return };
        let Kind::Older { named, after } = &mut catch_up.kind else { return };
        catch_up.pages += 1;
        catch_up.rows += files.len();
        catch_up.at = cx.now;
        let Some(last) = files.last().map(|file| file.path.clone()) else {
            let named = std::mem::take(named);
            return self.complete_older(cx, named);
        };
        let before = named.len();
        named.extend(files.into_iter().map(|file| (file.path, file.row)));
        *after = last;
        if named.len() == before {
            return self.restart(cx, "a page of list_current_files brings nothing further");
        }
        if catch_up.pages > MAX_PAGES || catch_up.rows > MAX_ROWS {
            return self.restart(cx, "the pages of list_current_files do not end");
        }
        self.send_page(cx);
    }

    fn complete_older(&mut self, cx: &mut Cx, named: BTreeMap<String, Row>) {
        let Some(mut catch_up) = self.catch_up.take() else { return };
        let settled = |replica: &Replica, path: &str| {
            replica.older.as_ref().is_none_or(|older| older.is_settled(path, catch_up.started))
        };
        let mut gone = self.unnamed(&named, |_| true);
        gone.retain(|path| settled(self, path));
        let mut news: Vec<(&String, Row)> = Vec::new();
        for (path, row) in &named {
            let old = self.table.get(path);
            let revision = old.map_or(self.known, |old| old.revision);
            let newer = old.is_none_or(|old| old.version < row.version || !old.is_live());
            if newer && old.is_none_or(|old| old.version < row.version)
                || old.is_some_and(|old| !old.says_the_same(row) && settled(self, path))
            {
                news.push((path, Row { revision, ..*row }));
            }
        }
        if self.asks_again(cx, &mut catch_up, &gone) {
            let kind = Kind::Older { named: BTreeMap::new(), after: String::new() };
            return self.begin(cx, catch_up.cause, kind, true);
        }
        for path in gone {
            let old = self.table.get(&path).copied();
            let version = old.and_then(|row| row.version);
            let revision = old.map_or(self.known, |row| row.revision);
            self.put_row(cx, &path, Some(Row { version, revision, state: RowState::Tombstone }));
        }
        for (path, row) in news {
            self.put_row(cx, path, Some(row));
        }
        if let Some(older) = &mut self.older {
            older.compared(cx.now);
        }
        let known = self.known;
        self.finished(cx, catch_up, known, None, Seen::State);
    }
}
