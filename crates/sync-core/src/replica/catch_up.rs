use std::collections::BTreeMap;
use std::time::Duration;

use super::reads::describe;
use super::{Purpose, Replica};
use crate::answer::{Changes, Listed};
use crate::backoff::Backoff;
use crate::cx::{Cx, clip};
use crate::table::Row;
use crate::wish::Origin;
use crate::{Answer, Content, Event, Read, ReadError, ReadId, Reason, Revision, Time};

/// Rows asked for in one page with content; the database ends a page earlier at 1 MB.
const PAGE_ROWS: u32 = 1_000;
/// Rows asked for in one page without content.
const PAGE_ROWS_BARE: u32 = 10_000;
/// More pages than any project has: whoever sends more does not end.
pub(super) const MAX_PAGES: u32 = 10_000;
/// More paths than any project has, over all pages.
pub(super) const MAX_ROWS: usize = 500_000;
/// Waits between attempts of a read.
const RETRY_LEAST: Duration = Duration::from_millis(100);
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(30);
/// Failures in a row after which reads count as failing.
const FAILING_AFTER: u32 = 2;

pub(super) fn backoff() -> Backoff {
    Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP)
}

/// A catch-up under way: one runs at a time.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub cause: &'static str,
    pub kind: Kind,
    pub from: Revision,
    /// The next page begins above it.
    pub since: Revision,
    pub started: Time,
    pub pages: u32,
    pub rows: usize,
    /// An answer that removes over half of the owned files was asked for again: obey now.
    pub confirming: bool,
    /// The page that is under way.
    pub read: Option<ReadId>,
    /// When the next page is to be asked for.
    pub at: Time,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// What is above the known revision.
    Changes,
    /// The full state, from 0: what is not named is gone. A repair looks at rows only when all are there.
    Full { named: BTreeMap<String, Row>, repair: bool },
    /// `list_current_files`, after this path.
    Older { named: BTreeMap<String, Row>, after: String },
}

impl CatchUp {
    /// The network may have come back: do not wait any longer.
    pub fn hurry(&mut self, now: Time) {
        self.at = self.at.min(now);
    }
}

impl Replica {
    /// Begins a catch-up now, or makes sure that another follows the one whose read is under way.
    pub(super) fn start_catch_up(&mut self, cx: &mut Cx, cause: &'static str) {
        self.wish_catch_up(cx.now, cause);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.hurry(cx.now);
        }
        self.tick_catch_up(cx);
    }

    /// Wishes for a catch-up at `at`, or earlier where one is wished already.
    pub(super) fn wish_catch_up(&mut self, at: Time, cause: &'static str) {
        if self.live && self.wished.is_none_or(|(wished, _)| at < wished) {
            self.wished = Some((at, cause));
        }
    }

    pub(super) fn catch_up_deadline(&self) -> Option<Time> {
        match &self.catch_up {
            Some(catch_up) => catch_up.read.is_none().then_some(catch_up.at),
            None => self.wished.map(|(at, _)| at),
        }
    }

    pub(super) fn tick_catch_up(&mut self, cx: &mut Cx) {
        if !self.hydrated {
            return;
        }
        if self.catch_up.is_none() {
            let Some((_, cause)) = self.wished.filter(|(at, _)| *at <= cx.now) else { return };
            let kind = match (&self.older, self.known) {
                (Some(_), _) => Kind::Older { named: BTreeMap::new(), after: String::new() },
                (None, 0) => Kind::Full { named: BTreeMap::new(), repair: false },
                (None, _) => Kind::Changes,
            };
            self.begin(cx, cause, kind, false);
        }
        self.send_page(cx);
    }

    pub(super) fn begin(&mut self, cx: &mut Cx, cause: &'static str, kind: Kind, confirming: bool) {
        let since = if let Kind::Changes = kind { self.known } else { 0 };
        self.catch_up = Some(CatchUp {
            cause,
            kind,
            from: self.known,
            since,
            started: cx.now,
            pages: 0,
            rows: 0,
            confirming,
            read: None,
            at: cx.now,
        });
    }

    pub(super) fn send_page(&mut self, cx: &mut Cx) {
        let Some(catch_up) = self.catch_up.as_ref().filter(|c| c.read.is_none() && c.at <= cx.now) else { return };
        // Without a snapshot there is nothing yet that content could be compared with.
        let bare = match &catch_up.kind {
            Kind::Full { repair, .. } => *repair || self.disk.owned() > 0,
            _ => false,
        };
        let read = match &catch_up.kind {
            Kind::Older { after, .. } => Read::CurrentFiles { after: after.clone() },
            _ => Read::Changes {
                since: catch_up.since,
                max_rows: if bare { PAGE_ROWS_BARE } else { PAGE_ROWS },
                with_content: !bare,
            },
        };
        let id = self.ask(cx, read, Purpose::CatchUp);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.read = Some(id);
        }
        // The answer covers whatever is wished for by now; but a later page of the older listing says nothing of the
        // paths before it.
        let covers = self.catch_up.as_ref().is_none_or(|catch_up| match &catch_up.kind {
            Kind::Older { after, .. } => after.is_empty(),
            Kind::Changes | Kind::Full { .. } => true,
        });
        self.wished = self.wished.filter(|(at, _)| !covers || *at > cx.now);
        self.held.read_sent();
    }

    pub(super) fn on_page(&mut self, cx: &mut Cx, id: ReadId, result: Result<Answer, ReadError>) {
        let Some(catch_up) = self.catch_up.as_mut().filter(|catch_up| catch_up.read == Some(id)) else { return };
        catch_up.read = None;
        let json = match result {
            Ok(Answer::Json(json)) => json,
            Ok(Answer::Staged(stage)) => {
                cx.outputs.push_back(crate::Output::Discard(stage));
                return self.page_failed(cx, "an object came for a listing".into(), None);
            }
            Err(ReadError::NoSuchFunction) if !matches!(catch_up.kind, Kind::Older { .. }) => {
                return self.found_older(cx);
            }
            Err(error) => {
                let (error, least) = describe(error);
                return self.page_failed(cx, error, least);
            }
        };
        if let Kind::Older { .. } = catch_up.kind {
            return match crate::answer::read_current_files(&json) {
                Ok(files) => self.on_older_page(cx, files),
                Err(error) => self.page_failed(cx, error.to_string(), None),
            };
        }
        match Changes::read(&json) {
            Ok(changes) if changes.reset && catch_up.since > 0 => self.on_reset(cx, changes),
            Ok(changes) => self.on_changes(cx, changes),
            Err(error) => {
                cx.rejected("answer", &error);
                self.page_failed(cx, error.to_string(), None);
            }
        }
    }

    /// The page is asked for again later.
    pub(super) fn page_failed(&mut self, cx: &mut Cx, error: String, least: Option<Duration>) {
        let Some(catch_up) = &mut self.catch_up else { return };
        let retry_after = self.catch_up_backoff.next(cx.rng).max(least.unwrap_or_default());
        catch_up.at = cx.now.after(retry_after);
        let error = clip(error);
        if self.catch_up_backoff.attempts() >= FAILING_AFTER {
            cx.degrade(Reason::ReadsFailing, error.clone());
        }
        cx.event(Event::CatchUpFailed { cause: catch_up.cause, error, retry_after });
    }

    /// The whole catch-up begins again later.
    pub(super) fn restart(&mut self, cx: &mut Cx, error: &str) {
        cx.rejected("pages", error);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.pages = 0;
            catch_up.rows = 0;
            match &mut catch_up.kind {
                Kind::Changes => catch_up.since = self.known,
                Kind::Full { named, .. } => {
                    named.clear();
                    catch_up.since = 0;
                }
                Kind::Older { named, after } => {
                    named.clear();
                    after.clear();
                }
            }
        }
        self.page_failed(cx, error.into(), None);
    }

    fn on_changes(&mut self, cx: &mut Cx, changes: Changes) {
        let Changes { head, complete, digest, files, .. } = changes;
        let Some(catch_up) = &mut self.catch_up else { return };
        catch_up.pages += 1;
        catch_up.rows += files.len();
        let last = files.iter().map(|file| file.row.revision).max().unwrap_or(0);
        if !complete && last <= catch_up.since {
            return self.restart(cx, "a page that is not the last brings nothing further");
        }
        if catch_up.pages > MAX_PAGES || catch_up.rows > MAX_ROWS {
            return self.restart(cx, "the pages do not end");
        }
        catch_up.since = last;
        catch_up.at = cx.now;
        let mut repair = false;
        if let Kind::Full { named, repair: is_repair } = &mut catch_up.kind {
            repair = *is_repair;
            for file in &files {
                named.insert(file.path.clone(), file.row);
            }
        }
        if !repair {
            self.put_listed(cx, files);
        }
        if complete { self.complete(cx, head, digest) } else { self.send_page(cx) }
    }

    /// Rows are facts of their own: each is taken where it is newer than what is there.
    pub(super) fn put_listed(&mut self, cx: &mut Cx, mut files: Vec<Listed>) {
        files.sort_by_key(|file| file.row.revision);
        for change in files.chunk_by_mut(|a, b| a.row.revision == b.row.revision) {
            let revision = change.first().map(|file| file.row.revision);
            let group = (change.len() > 1).then(|| self.disk.group(cx.now, revision, false));
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
                self.disk.end_group(group);
            }
        }
    }
}
