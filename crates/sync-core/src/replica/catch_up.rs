use std::collections::BTreeMap;
use std::time::Duration;

use super::reads::describe;
use super::{Purpose, Replica};
use crate::answer::{Changes, Listed};
use crate::backoff::Backoff;
use crate::cx::{Cx, clip};
use crate::digest::TableDigest;
use crate::disk::Origin;
use crate::table::{Row, RowState};
use crate::{Answer, Content, Event, Read, ReadError, ReadId, Reason, Revision, Time};

/// Rows asked for in one page with content; the database ends a page earlier at 1 MB.
const PAGE_ROWS: u32 = 1_000;
/// Rows asked for in one page without content.
const PAGE_ROWS_BARE: u32 = 10_000;
/// More pages than any project has: whoever sends more does not end.
const MAX_PAGES: u32 = 10_000;
/// More paths than any project has, over all pages.
const MAX_ROWS: usize = 500_000;
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
    cause: &'static str,
    kind: Kind,
    from: Revision,
    /// The next page begins above it.
    since: Revision,
    pub(super) started: Time,
    pages: u32,
    rows: usize,
    /// An answer that removes over half of the owned files was asked for again: obey now.
    confirming: bool,
    /// The page that is under way.
    read: Option<ReadId>,
    /// When the next page is to be asked for.
    at: Time,
}

#[derive(Debug)]
enum Kind {
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

    fn begin(&mut self, cx: &mut Cx, cause: &'static str, kind: Kind, confirming: bool) {
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

    fn send_page(&mut self, cx: &mut Cx) {
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
        // The answer covers whatever is wished for by now.
        self.wished = self.wished.filter(|(at, _)| *at > cx.now);
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
    fn page_failed(&mut self, cx: &mut Cx, error: String, least: Option<Duration>) {
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
    fn restart(&mut self, cx: &mut Cx, error: &str) {
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
    fn put_listed(&mut self, cx: &mut Cx, mut files: Vec<Listed>) {
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

    /// The last page came: only now it is a state.
    fn complete(&mut self, cx: &mut Cx, head: Revision, digest: Option<TableDigest>) {
        let Some(mut catch_up) = self.catch_up.take() else { return };
        let full = match &mut catch_up.kind {
            Kind::Full { named, .. } => Some(std::mem::take(named)),
            _ => None,
        };
        if let Some(named) = &full {
            let gone = self.unnamed(named, |row| row.revision <= head);
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
                if old.is_none_or(|old| old.revision <= head && !old.says_the_same(row)) {
                    self.put_row(cx, path, Some(*row));
                }
            }
        }
        self.known = self.known.max(head);
        self.finished(cx, catch_up, head, digest, full.is_some());
    }

    /// The answer replaces the table, tombstones included, also downwards.
    fn on_reset(&mut self, cx: &mut Cx, changes: Changes) {
        let Changes { head, digest, files, .. } = changes;
        let Some(mut catch_up) = self.catch_up.take() else { return };
        let named: BTreeMap<String, Row> = files.into_iter().map(|file| (file.path, file.row)).collect();
        // A head below ours is a restored backup: what we know above it does not exist any more.
        let downwards = catch_up.since > head;
        let replaced = |row: &Row| downwards || row.revision <= head;
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
        self.finished(cx, catch_up, head, digest, true);
    }

    fn finished(&mut self, cx: &mut Cx, catch_up: CatchUp, head: Revision, digest: Option<TableDigest>, listed: bool) {
        self.head = Some(self.known.max(head));
        self.catch_up_backoff.reset();
        cx.recover(Reason::ReadsFailing);
        self.head_poll.caught_up(self.known);
        // Before the word is out that the catch-up ended, its files are under way.
        self.disk.flush(cx);
        let CatchUp { cause, from, started, rows, .. } = catch_up;
        cx.event(Event::CatchUp { cause, from, to: self.known, files: rows, took: cx.now.since(started) });
        self.settle_provisional(cx, started);
        self.drop_unreachable(cx);
        if let Some(stored) = digest {
            self.compare_digest(cx, head, stored, listed);
        }
        self.drain_held(cx);
    }

    /// Revisions equal and digests different: something is wrong with a row, ours or the database's digest.
    pub(super) fn compare_digest(&mut self, cx: &mut Cx, head: Revision, stored: TableDigest, listed: bool) {
        if self.known != head || self.older.is_some() {
            return;
        }
        if self.table.digest() == stored {
            self.digest_wrong = None;
            return cx.recover(Reason::DigestWrong);
        }
        if listed {
            self.digest_wrong = Some((head, stored));
            return cx.degrade(Reason::DigestWrong, format!("the database's digest {stored} is not that of its files"));
        }
        if self.digest_wrong != Some((head, stored)) && self.catch_up.is_none() {
            self.begin(cx, "digest", Kind::Full { named: BTreeMap::new(), repair: true }, false);
        }
    }

    /// Live paths of the table that a full listing does not name as live.
    fn unnamed(&self, named: &BTreeMap<String, Row>, replaced: impl Fn(&Row) -> bool) -> Vec<String> {
        let gone = |path: &str, row: &Row| {
            row.is_live() && replaced(row) && named.get(path).is_none_or(|listed| !listed.is_live())
        };
        self.table.iter().filter(|(path, row)| gone(path, row)).map(|(path, _)| path.to_owned()).collect()
    }

    /// An answer that would remove over half of the owned files is asked for twice.
    fn asks_again(&self, cx: &mut Cx, catch_up: &mut CatchUp, gone: &[String]) -> bool {
        let owned = |path: &&String| crate::ProjectPath::parse(path).is_ok_and(|path| self.disk.owns(&path));
        let removed = gone.iter().filter(owned).count();
        if catch_up.confirming || removed * 2 <= self.disk.owned() {
            return false;
        }
        cx.skipped("removal_asked_again");
        true
    }

    /// Replaces a row without regard to its revision.
    fn put_row(&mut self, cx: &mut Cx, path: &str, row: Option<Row>) {
        match row {
            Some(row) => self.table.put(path, row),
            None => self.table.remove(path),
        }
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        self.follow_row(cx, path, None, origin);
    }

    fn found_older(&mut self, cx: &mut Cx) {
        let cause = self.catch_up.take().map_or("older", |catch_up| catch_up.cause);
        cx.degrade(Reason::OlderDatabase, "the database has no list_project_changes");
        self.older = Some(super::Older::new());
        self.begin(cx, cause, Kind::Older { named: BTreeMap::new(), after: String::new() }, false);
        self.send_page(cx);
        self.drain_held(cx);
    }

    fn on_older_page(&mut self, cx: &mut Cx, files: Vec<Listed>) {
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
        self.finished(cx, catch_up, known, None, true);
    }
}
