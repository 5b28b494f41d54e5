use std::collections::BTreeMap;
use std::time::Duration;

use super::Replica;
use super::accept::row_of;
use crate::change::{Change, EntryKind, read_row};
use crate::cx::Cx;
use crate::{ContentHash, Time};

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
}
