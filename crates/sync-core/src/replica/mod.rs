//! The project's directory as a replica of the database's log of revisions.

mod accept;
mod catch_up;
mod fetch;
mod head_poll;
mod look;
mod older;
mod provisional;
mod reads;
mod restore;
mod state;

use std::collections::BTreeMap;

use crate::backoff::Backoff;
use crate::change::{Told, read_event};
use crate::cx::{Cx, earliest};
use crate::digest::TableDigest;
use crate::disk::Disk;
use crate::held::Held;
use crate::local::LocalChanges;
use crate::table::{Row, RowState, Table};
use crate::wish::{Origin, Want};
use crate::{BatchId, Content, Event, Hydration, Options, ProjectPath, Read, ReadId, Reason, Revision, Time, Written};

use catch_up::CatchUp;
use fetch::Fetch;
use head_poll::HeadPoll;
use older::Older;
use provisional::Provisional;

/// What was accepted, what is on disk, and the reads that bring the two to where the database is.
#[derive(Debug)]
pub(crate) struct Replica {
    live: bool,
    /// The snapshot is in place.
    hydrated: bool,
    /// Everything up to here is accepted.
    known: Revision,
    /// The newest revision heard of from a read, or accepted.
    head: Option<Revision>,
    table: Table,
    disk: Disk,
    held: Held,
    local: LocalChanges,
    catch_up: Option<CatchUp>,
    /// A catch-up is wished at this time, with the first cause of it.
    wished: Option<(Time, &'static str)>,
    catch_up_backoff: Backoff,
    /// The head and stored digest for which a listing showed that the database's digest is wrong.
    digest_wrong: Option<(Revision, TableDigest)>,
    /// Head, stored digest and our own after the last listing of several pages that did not agree.
    listed: Option<(Revision, TableDigest, TableDigest)>,
    head_poll: HeadPoll,
    provisional: BTreeMap<ProjectPath, Provisional>,
    /// The database lacks the newer functions.
    older: Option<Older>,
    reads: BTreeMap<ReadId, (Purpose, Time)>,
    next_read: u64,
    /// When the newest token was taken in use: reads sent before may fail for the old one's sake.
    token_since: Time,
    in_sync: bool,
    /// The directory was kept: after the first catch-up every path is compared with the table.
    reconcile: bool,
}

/// What a read was sent for.
#[derive(Debug)]
enum Purpose {
    CatchUp,
    Head { known: Revision },
    Fetch(Fetch),
}

impl Replica {
    pub fn new(options: &Options) -> Replica {
        Replica {
            live: options.live,
            hydrated: false,
            known: 0,
            head: None,
            table: Table::default(),
            disk: Disk::default(),
            held: Held::default(),
            local: LocalChanges::new(options.restore_local_changes),
            catch_up: None,
            wished: None,
            catch_up_backoff: catch_up::backoff(),
            digest_wrong: None,
            listed: None,
            head_poll: HeadPoll::new(),
            provisional: BTreeMap::new(),
            older: None,
            reads: BTreeMap::new(),
            next_read: 1,
            token_since: Time::default(),
            in_sync: false,
            reconcile: false,
        }
    }

    /// The snapshot is in place.
    pub fn hydrated(&mut self, cx: &mut Cx, hydration: Hydration) {
        if std::mem::replace(&mut self.hydrated, true) {
            return cx.skipped("hydrated_twice");
        }
        self.known = hydration.revision.unwrap_or(0);
        for file in hydration.files {
            let state = RowState::Live { hash: file.hash, size: Some(file.size) };
            self.table.put(file.path.as_str(), Row { version: file.version, revision: self.known, state });
            self.disk.adopt(file.path, file.hash);
        }
        if self.live {
            self.start_catch_up(cx, "hydrated");
            self.head_poll.schedule(cx);
        }
        self.drain_held(cx);
        self.pump(cx);
    }

    /// The channel streams (again): what was sent before is not coming.
    pub fn streaming(&mut self, cx: &mut Cx) {
        self.older = None;
        if self.hydrated {
            self.start_catch_up(cx, "joined");
        }
    }

    /// An event of the project's topic.
    pub fn broadcast(&mut self, cx: &mut Cx, event: &str, payload: &[u8]) {
        match read_event(event, payload) {
            Ok(Told::Change(change)) => self.on_change(cx, change, cx.now),
            Ok(Told::SnapshotReady { revision }) => {
                if revision.is_none_or(|revision| revision > self.known) {
                    self.wish_catch_up(cx.now, "snapshot_ready");
                }
            }
            Ok(Told::Unknown) => cx.skipped("unknown_event"),
            Err(error) => {
                cx.rejected("event", error);
                self.wish_catch_up(cx.now, "bad_event");
            }
        }
        self.pump(cx);
    }

    /// A batch ended.
    pub fn on_written(&mut self, cx: &mut Cx, id: BatchId, written: Vec<Written>) {
        self.disk.written(cx, id, written);
        self.pump(cx);
    }

    /// Does what is due.
    pub fn tick(&mut self, cx: &mut Cx) {
        if !self.hydrated {
            return;
        }
        self.confirm_provisional(cx);
        self.poll_head(cx);
        self.tick_older(cx);
        self.tick_catch_up(cx);
        self.restore_local(cx);
        self.pump(cx);
    }

    pub fn deadline(&self) -> Option<Time> {
        if !self.hydrated {
            return None;
        }
        earliest([
            self.disk.deadline(),
            self.catch_up_deadline(),
            self.head_poll.deadline(),
            self.local_deadline(),
            self.provisional_deadline(),
            self.older.as_ref().and_then(Older::deadline),
        ])
    }

    /// Sends the reads and the batch that are due; tells when sync is reached or lost.
    pub fn pump(&mut self, cx: &mut Cx) {
        if !self.hydrated {
            return;
        }
        self.tick_catch_up(cx);
        self.fetch(cx);
        self.disk.flush(cx);
        self.tell_sync(cx);
    }

    /// A new token is in use: what was refused is asked again.
    pub fn token_renewed(&mut self, cx: &mut Cx) {
        self.token_since = cx.now;
        self.retry_reads(cx);
    }

    /// Everything that waits for a healthier world tries again: the network may have come back.
    pub fn retry_reads(&mut self, cx: &mut Cx) {
        self.catch_up_backoff.reset();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.hurry(cx.now);
        }
        self.disk.retry_now(cx.now);
        self.pump(cx);
    }

    pub fn known(&self) -> Revision {
        self.known
    }

    pub fn head(&self) -> Option<Revision> {
        self.head
    }

    pub fn files(&self) -> usize {
        self.table.live()
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The largest lag of what was written since this was last asked.
    pub fn take_applied(&mut self) -> Option<std::time::Duration> {
        self.disk.take_applied()
    }

    /// The digest of what was accepted.
    pub fn digest(&self) -> TableDigest {
        self.table.digest()
    }

    /// At the head, and everything on disk.
    pub fn is_current(&self) -> bool {
        let at_head = match (&self.older, self.head) {
            (Some(older), _) => older.is_compared(),
            (None, Some(head)) => head == self.known,
            (None, None) => !self.live,
        };
        self.hydrated && at_head && self.disk.is_idle() && self.provisional.is_empty() && self.held.len() == 0
    }

    /// Accepted and not yet on disk: path, reason, error.
    pub fn debts(&self) -> Vec<(String, &'static str, String)> {
        let provisional = self.provisional.keys().map(|path| (path.to_string(), "provisional", String::new()));
        let others = self.disk.debts().map(|(path, reason, error)| (path.to_string(), reason, error.to_owned()));
        provisional.chain(others).collect()
    }

    fn tell_sync(&mut self, cx: &mut Cx) {
        if self.disk.has_trouble() {
            cx.degrade(Reason::Debts, "some files are accepted and not on disk");
        } else {
            cx.recover(Reason::Debts);
        }
        let behind = self.head.is_some_and(|head| head > self.known) && self.older.is_none();
        if !behind {
            cx.recover(Reason::Behind);
        }
        let current = self.is_current();
        // What is just being written is no reason to cry.
        let parted = behind || self.disk.has_trouble() || !self.provisional.is_empty();
        if current != self.in_sync && (current || parted) {
            self.in_sync = current;
            cx.event(Event::InSync { current, revision: self.known });
        }
    }

    /// Makes the disk follow the row of `path`, unless something provisional stands above it.
    fn follow_row(&mut self, cx: &mut Cx, path: &str, content: Option<Content>, origin: Origin) {
        let row = self.table.get(path).copied();
        let path = match ProjectPath::parse(path) {
            Ok(path) => path,
            Err(error) => {
                if row.is_some_and(|row| row.is_live()) {
                    cx.rejected("path", error);
                }
                return;
            }
        };
        self.settle_local(cx, &path);
        if let Some(provisional) = self.provisional.get(&path) {
            if row.is_none_or(|row| row.version < Some(provisional.version)) {
                return;
            }
            self.provisional.remove(&path);
        }
        let want = match row {
            Some(Row { version, revision, state: RowState::Live { hash, size } }) => {
                Want { hash: Some(hash), size, version, revision: Some(revision) }
            }
            Some(Row { version, revision, state: RowState::Tombstone }) => {
                Want { hash: None, size: None, version, revision: Some(revision) }
            }
            None => Want { hash: None, size: None, version: None, revision: None },
        };
        self.disk.want(cx, path, want, content, origin);
    }

    fn ask(&mut self, cx: &mut Cx, read: Read, purpose: Purpose) -> ReadId {
        let id = ReadId(self.next_read);
        self.next_read += 1;
        self.reads.insert(id, (purpose, cx.now));
        cx.outputs.push_back(crate::Output::Read(id, read));
        id
    }
}
