//! Reading what was missed: one catch-up runs at a time, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use super::active::ActiveReplica;
use super::pending_write::{GroupKind, Origin};
use super::reads::{ReadFailure, ReadPurpose};
use super::visibility::Expectation;
use crate::context::{Context, clip};
use crate::files::table::Row;
use crate::time::{Timer, TimerReason};
use crate::wire::answer::{Changes, Listed, read_current_files};
use crate::{
    Answer, Backoff, CatchUpCause, Content, DegradedReason, Event, Output, Read, ReadError, ReadId, RejectReason,
    Revision, Time, error_chain,
};

/// Rows of one page with content; the database ends a page earlier at 1 MB.
const PAGE_ROWS: u32 = 1_000;
/// Rows of one page without content.
const PAGE_ROWS_BARE: u32 = 10_000;
/// More pages than any project has: a listing with more does not end.
pub(super) const MAX_PAGES: u32 = 10_000;
/// More paths than any project has, over all pages.
pub(super) const MAX_ROWS: usize = 500_000;
/// Waits between attempts at a page.
const RETRY_LEAST: Duration = Duration::from_millis(100);
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(30);
/// Failures in a row after which reads count as failing.
const FAILING_AFTER: u32 = 2;

/// The catch-up that runs, and the one that is to follow.
#[derive(Debug)]
pub(super) struct CatchUps {
    pub running: Option<RunningCatchUp>,
    pub scheduled: Option<ScheduledCatchUp>,
    pub backoff: Backoff,
}

/// A catch-up that is to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScheduledCatchUp {
    pub at: Time,
    /// The first cause of it.
    pub cause: CatchUpCause,
}

/// A catch-up that has begun.
#[derive(Debug)]
pub(super) struct RunningCatchUp {
    pub cause: CatchUpCause,
    pub listing: Listing,
    /// The known revision when it began.
    pub from: Revision,
    /// The next page begins above this revision.
    pub since: Revision,
    pub started: Time,
    pub pages: u32,
    pub rows: usize,
    pub confirmation: Confirmation,
    /// The page that is under way.
    pub read: Option<ReadId>,
    /// When the next page is to be sent for.
    pub next_page_at: Time,
    /// The server asked not to send the next page before this time.
    pub not_before: Time,
    /// It waits for the head to show a commit.
    pub is_paused: bool,
}

/// Whether an answer that removes over half of the owned files is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// It is asked for a second time first.
    Needed,
    /// This is the second time.
    Given,
}

/// What is being listed.
#[derive(Debug)]
pub(super) enum Listing {
    /// The rows above the known revision.
    Changes,
    /// The full state, from revision 0: what is not listed is gone. A repair uses the rows only when all are there.
    Full { listed: BTreeMap<String, Row>, mode: FullMode },
    /// `list_current_files`, after this path.
    Legacy { listed: BTreeMap<String, Row>, after: String },
}

/// When the rows of a full listing are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FullMode {
    /// As each page arrives.
    First,
    /// When all pages have arrived: the table is compared with them.
    Repair,
}

impl Listing {
    pub fn full(mode: FullMode) -> Listing {
        Listing::Full { listed: BTreeMap::new(), mode }
    }

    pub fn legacy() -> Listing {
        Listing::Legacy { listed: BTreeMap::new(), after: String::new() }
    }
}

impl CatchUps {
    pub fn new() -> CatchUps {
        let backoff = Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP);
        CatchUps { running: None, scheduled: None, backoff }
    }

    /// Reads work again: the next attempt need not wait, unless the server asked for it.
    pub fn outage_ended(&mut self, now: Time) {
        self.backoff.reset();
        if let Some(running) = &mut self.running {
            running.next_page_at = running.next_page_at.min(now.max(running.not_before));
        }
    }

    pub fn deadline(&self) -> Option<Timer> {
        let at = match &self.running {
            Some(running) => running.read.is_none().then_some(running.next_page_at),
            None => self.scheduled.map(|scheduled| scheduled.at),
        };
        at.map(|at| TimerReason::CatchUp.at(at))
    }
}

impl RunningCatchUp {
    /// Begins again with the first page.
    pub fn restart(&mut self, known: Revision) {
        self.pages = 0;
        self.rows = 0;
        match &mut self.listing {
            Listing::Changes => self.since = known,
            Listing::Full { listed, .. } => {
                listed.clear();
                self.since = 0;
            }
            Listing::Legacy { listed, after } => {
                listed.clear();
                after.clear();
            }
        }
    }

    /// Ends a wait that no failure caused.
    pub fn resume(&mut self, now: Time) {
        if self.not_before <= now && self.is_paused {
            self.is_paused = false;
            self.hurry(now);
        }
    }

    /// Ends the wait for the next attempt: the network may be back.
    pub fn hurry(&mut self, now: Time) {
        self.next_page_at = self.next_page_at.min(now);
    }
}

impl ActiveReplica {
    /// Begins a catch-up now, or makes sure that another follows the one whose read is under way.
    pub(super) fn start_catch_up(&mut self, cx: &mut Context, cause: CatchUpCause) {
        self.schedule_catch_up(cx.now, cause);
        if let Some(running) = self.running_catch_up() {
            running.hurry(cx.now);
        }
        self.tick_catch_up(cx);
    }

    /// Schedules a catch-up at `at`, where none is scheduled earlier.
    pub(super) fn schedule_catch_up(&mut self, at: Time, cause: CatchUpCause) {
        let is_earlier = self.catch_ups.scheduled.is_none_or(|scheduled| at < scheduled.at);
        if self.settings.has_database && is_earlier {
            self.catch_ups.scheduled = Some(ScheduledCatchUp { at, cause });
        }
    }

    pub(super) fn tick_catch_up(&mut self, cx: &mut Context) {
        if self.catch_ups.running.is_none() {
            let Some(scheduled) = self.catch_ups.scheduled.filter(|scheduled| scheduled.at <= cx.now) else { return };
            let listing = match (&self.legacy, self.known) {
                (Some(_), _) => Listing::legacy(),
                (None, 0) => Listing::full(FullMode::First),
                (None, _) => Listing::Changes,
            };
            self.begin(cx, scheduled.cause, listing, Confirmation::Needed);
        }
        self.send_page(cx);
    }

    pub(super) fn begin(
        &mut self,
        cx: &mut Context,
        cause: CatchUpCause,
        listing: Listing,
        confirmation: Confirmation,
    ) {
        let since = if let Listing::Changes = listing { self.known } else { 0 };
        self.catch_ups.running = Some(RunningCatchUp {
            cause,
            listing,
            from: self.known,
            since,
            started: cx.now,
            pages: 0,
            rows: 0,
            confirmation,
            read: None,
            next_page_at: cx.now,
            not_before: cx.now,
            is_paused: false,
        });
    }

    pub(super) fn send_page(&mut self, cx: &mut Context) {
        let is_due = |running: &&RunningCatchUp| running.read.is_none() && running.next_page_at <= cx.now;
        let Some(running) = self.catch_ups.running.as_ref().filter(is_due) else { return };
        // Without a snapshot there is no file yet whose content could be compared.
        let without_content = match &running.listing {
            Listing::Full { mode, .. } => *mode == FullMode::Repair || self.disk.owned() > 0,
            Listing::Changes | Listing::Legacy { .. } => false,
        };
        let read = match &running.listing {
            Listing::Legacy { after, .. } => Read::CurrentFiles { after: after.clone() },
            Listing::Changes | Listing::Full { .. } => Read::Changes {
                since: running.since,
                max_rows: if without_content { PAGE_ROWS_BARE } else { PAGE_ROWS },
                with_content: !without_content,
            },
        };
        // The answer covers every catch-up that is due by now. A later page of the legacy listing does not: it has
        // nothing about the paths before it.
        let covers_scheduled = match &running.listing {
            Listing::Legacy { after, .. } => after.is_empty(),
            Listing::Changes | Listing::Full { .. } => true,
        };
        let id = self.send_read(cx, read, ReadPurpose::CatchUp);
        if let Some(running) = self.running_catch_up() {
            running.read = Some(id);
            running.is_paused = false;
        }
        self.catch_ups.scheduled =
            self.catch_ups.scheduled.filter(|scheduled| !covers_scheduled || scheduled.at > cx.now);
        self.held.read_sent();
    }

    pub(super) fn on_page(
        &mut self,
        cx: &mut Context,
        id: ReadId,
        expected: Expectation,
        result: Result<Answer, ReadError>,
    ) {
        let Some(running) = self.catch_ups.running.as_mut().filter(|running| running.read == Some(id)) else { return };
        running.read = None;
        let json = match result {
            Ok(Answer::Json(json)) => json,
            Ok(Answer::Staged(stage)) => {
                cx.outputs.push_back(Output::Discard(stage));
                return self.page_failed(cx, ReadFailure::new("the answer of a listing is a stored object"));
            }
            Err(ReadError::NoSuchFunction) if !matches!(running.listing, Listing::Legacy { .. }) => {
                return self.found_legacy(cx);
            }
            Err(error) => return self.page_failed(cx, error.into()),
        };
        if let Listing::Legacy { .. } = running.listing {
            return match read_current_files(&json) {
                Ok(files) => self.on_legacy_page(cx, files),
                Err(error) => self.page_failed(cx, ReadFailure::new(error_chain(&error))),
            };
        }
        match Changes::read(&json) {
            Ok(changes) if changes.reset && running.since > 0 => self.on_reset(cx, changes, expected),
            Ok(changes) => self.on_changes(cx, changes, expected),
            Err(error) => {
                cx.rejected(RejectReason::Answer, error_chain(&error));
                self.page_failed(cx, ReadFailure::new(error_chain(&error)));
            }
        }
    }

    /// The page is asked for again later.
    pub(super) fn page_failed(&mut self, cx: &mut Context, failure: ReadFailure) {
        let retry_after = self.catch_ups.backoff.next(cx.rng).max(failure.least);
        let attempts = self.catch_ups.backoff.attempts();
        let Some(running) = self.running_catch_up() else { return };
        running.next_page_at = cx.now.after(retry_after);
        running.not_before = cx.now.after(failure.least);
        let cause = running.cause;
        let error = clip(failure.error);
        if attempts >= FAILING_AFTER {
            cx.degrade(DegradedReason::ReadsFailing, error.clone());
        }
        cx.event(Event::CatchUpFailed { cause, error, retry_after });
    }

    /// The whole catch-up begins again later.
    pub(super) fn restart_catch_up(&mut self, cx: &mut Context, error: &str) {
        cx.rejected(RejectReason::Pages, error);
        let known = self.known;
        if let Some(running) = self.running_catch_up() {
            running.restart(known);
        }
        self.page_failed(cx, ReadFailure::new(error));
    }

    fn on_changes(&mut self, cx: &mut Context, changes: Changes, expected: Expectation) {
        let Changes { head, complete, digest, files, .. } = changes;
        let Some(running) = self.running_catch_up() else { return };
        running.pages = running.pages.saturating_add(1);
        running.rows = running.rows.saturating_add(files.len());
        let last = files.iter().map(|file| file.row.revision).max().unwrap_or(0);
        if !complete && last <= running.since {
            return self.restart_catch_up(cx, "a page that is not the last one has no row above the page before");
        }
        if running.pages > MAX_PAGES || running.rows > MAX_ROWS {
            return self.restart_catch_up(cx, "the listing does not end");
        }
        running.since = last;
        running.next_page_at = cx.now;
        let mut used_at_once = true;
        if let Listing::Full { listed, mode } = &mut running.listing {
            used_at_once = *mode == FullMode::First;
            listed.extend(files.iter().map(|file| (file.path.clone(), file.row)));
        }
        if used_at_once {
            self.put_listed(cx, files);
        }
        if complete { self.complete(cx, head, digest, expected) } else { self.send_page(cx) }
    }

    /// Rows are true by themselves: each is taken where it is newer than the table's.
    pub(super) fn put_listed(&mut self, cx: &mut Context, mut files: Vec<Listed>) {
        files.sort_by_key(|file| file.row.revision);
        for change in files.chunk_by_mut(|a, b| a.row.revision == b.row.revision) {
            let revision = change.first().map(|file| file.row.revision);
            let group = (change.len() > 1).then(|| self.disk.open_group(cx.now, revision, GroupKind::Listing));
            let origin = Origin { received: cx.now, sent_at_ms: None, group };
            for file in change {
                if self.table.get(&file.path).is_some_and(|old| old.revision >= file.row.revision) {
                    continue;
                }
                self.table.put(&file.path, file.row);
                let content = match (file.content.take(), file.row.hash()) {
                    (Some(content), Some(hash)) => super::accept::verified(cx, &file.path, content, hash),
                    _ => None,
                };
                self.follow_row(cx, &file.path, content.map(Content::Bytes), origin);
            }
            if let Some(group) = group {
                self.disk.close_group(group);
            }
        }
    }
}
