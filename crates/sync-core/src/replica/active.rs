use std::collections::BTreeMap;
use std::time::Duration;

use super::catch_up::{CatchUps, RunningCatchUp};
use super::complete::DigestCheck;
use super::disk::Disk;
use super::head_poll::HeadPoll;
use super::held_events::HeldEvents;
use super::legacy::Legacy;
use super::local_changes::LocalChanges;
use super::pending_write::{Origin, TargetState};
use super::provisional::Provisional;
use super::reads::Reads;
use super::visibility::Visibility;
use super::{AwaitingFiles, Settings};
use crate::context::Context;
use crate::files::digest::TableDigest;
use crate::files::table::{Row, RowState, Table};
use crate::time::{Timer, TimerReason, earliest};
use crate::wire::event_payload::{ChangeError, DecodedEvent};
use crate::{
    BatchId, CatchUpCause, Content, DegradedReason, Event, Hydration, OpResult, PendingFile, PendingReason,
    ProjectPath, RejectReason, Revision, SkipReason, Time, error_chain,
};

/// A replica whose first files are in place.
#[derive(Debug)]
pub(crate) struct ActiveReplica {
    pub(super) settings: Settings,
    /// Everything up to this revision is accepted.
    pub(super) known: Revision,
    /// The newest revision that a read reported, or that was accepted.
    pub(super) head: Option<Revision>,
    pub(super) table: Table,
    pub(super) disk: Disk,
    pub(super) held: HeldEvents,
    pub(super) local: LocalChanges,
    pub(super) catch_ups: CatchUps,
    pub(super) digest_check: DigestCheck,
    pub(super) head_poll: HeadPoll,
    pub(super) visibility: Visibility,
    /// Files written ahead of the database.
    pub(super) provisional: BTreeMap<ProjectPath, Provisional>,
    /// Where the database has only the legacy listing.
    pub(super) legacy: Option<Legacy>,
    pub(super) reads: Reads,
    /// The state that was reported last.
    pub(super) reported_in_sync: bool,
    /// The directory was kept: after the first catch-up every path is compared with the table.
    pub(super) must_reconcile: bool,
}

impl ActiveReplica {
    pub(super) fn new(awaiting: AwaitingFiles) -> ActiveReplica {
        let AwaitingFiles { settings, held, token_since } = awaiting;
        ActiveReplica {
            settings,
            known: 0,
            head: None,
            table: Table::default(),
            disk: Disk::default(),
            held,
            local: LocalChanges::new(settings.local_changes),
            catch_ups: CatchUps::new(),
            digest_check: DigestCheck::default(),
            head_poll: HeadPoll::new(),
            visibility: Visibility::default(),
            provisional: BTreeMap::new(),
            legacy: None,
            reads: Reads::new(token_since),
            reported_in_sync: false,
            must_reconcile: false,
        }
    }

    pub(super) fn hydrated(&mut self, cx: &mut Context, hydration: Hydration) {
        self.known = hydration.revision.unwrap_or(0);
        for file in hydration.files {
            let state = RowState::Live { hash: file.hash, size: Some(file.size) };
            self.table.put(file.path.as_str(), Row { version: file.version, revision: self.known, state });
            self.disk.adopt(file.path, file.hash);
        }
        self.begin_following(cx, CatchUpCause::Hydrated);
    }

    /// The first files are in place: compares them with the database, then judges the events that were held.
    pub(super) fn begin_following(&mut self, cx: &mut Context, cause: CatchUpCause) {
        self.visibility.begin(cx.now);
        if let Some(revision) = self.held.last_revision() {
            self.visibility.announce(revision);
        }
        if self.settings.has_database {
            self.start_catch_up(cx, cause);
            self.head_poll.schedule(cx);
        }
        self.drain_held(cx);
        self.pump(cx);
    }

    pub(super) fn streaming(&mut self, cx: &mut Context) {
        self.legacy = None;
        self.start_catch_up(cx, CatchUpCause::Joined);
        self.pump(cx);
    }

    pub(super) fn broadcast(&mut self, cx: &mut Context, decoded: Result<DecodedEvent, ChangeError>) {
        match decoded {
            Ok(DecodedEvent::Change(change)) => self.on_change(cx, change, cx.now),
            Ok(DecodedEvent::SnapshotReady { revision }) => {
                self.visibility.announce(revision.unwrap_or(0));
                if revision.is_none_or(|revision| revision > self.known) {
                    self.schedule_catch_up(cx.now, CatchUpCause::SnapshotReady);
                }
            }
            Ok(DecodedEvent::Unknown) => cx.skipped(SkipReason::UnknownEvent),
            Err(error) => {
                cx.rejected(RejectReason::Event, error_chain(&error));
                self.schedule_catch_up(cx.now, CatchUpCause::BadEvent);
            }
        }
        self.pump(cx);
    }

    pub(super) fn raw_broadcast(&mut self, cx: &mut Context) {
        self.schedule_catch_up(cx.now, CatchUpCause::IncompleteEvent);
        self.pump(cx);
    }

    pub(super) fn on_written(&mut self, cx: &mut Context, id: BatchId, results: Vec<OpResult>) {
        self.disk.written(cx, id, results);
        self.pump(cx);
    }

    pub(super) fn tick(&mut self, cx: &mut Context) {
        self.confirm_provisional(cx);
        self.poll_head(cx);
        self.tick_legacy(cx);
        self.tick_catch_up(cx);
        self.restore_local(cx);
        self.pump(cx);
    }

    pub(super) fn deadline(&self) -> Option<Timer> {
        earliest([
            self.disk.deadline(),
            self.catch_ups.deadline(),
            self.head_poll.deadline(),
            self.local_deadline(),
            self.provisional_deadline(),
            self.legacy.as_ref().and_then(Legacy::deadline),
            self.head_expires().map(|at| TimerReason::HeadExpiry.at(at)),
        ])
    }

    /// Sends the reads and the batch that are due, and reports when the database's state is reached or left.
    pub(super) fn pump(&mut self, cx: &mut Context) {
        self.tick_catch_up(cx);
        self.fetch(cx);
        self.disk.flush(cx);
        self.report_sync(cx);
    }

    pub(super) fn token_renewed(&mut self, cx: &mut Context) {
        self.reads.token_since = cx.now;
        self.retry_reads(cx);
    }

    pub(super) fn resumed(&mut self, cx: &mut Context) {
        self.visibility.forget_head_age();
        self.head_poll.poll_at(cx.now);
        self.retry_reads(cx);
    }

    pub(super) fn retry_reads(&mut self, cx: &mut Context) {
        self.catch_ups.backoff.reset();
        if let Some(running) = &mut self.catch_ups.running {
            running.hurry(cx.now);
        }
        self.disk.retry_now(cx.now);
        self.pump(cx);
    }

    pub(super) fn known(&self) -> Revision {
        self.known
    }

    pub(super) fn head(&self) -> Option<Revision> {
        self.head
    }

    pub(super) fn files(&self) -> usize {
        self.table.live()
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn take_applied(&mut self) -> Option<Duration> {
        self.disk.take_applied()
    }

    pub(super) fn digest(&self) -> TableDigest {
        self.table.digest()
    }

    pub(super) fn is_current(&self, now: Time) -> bool {
        let at_head = match (&self.legacy, self.head) {
            (Some(legacy), _) => legacy.is_compared(),
            (None, Some(head)) => head == self.known,
            (None, None) => !self.settings.has_database,
        };
        let is_shown = !self.settings.has_database || (self.is_head_recent(now) && !self.visibility.is_lagging());
        at_head && is_shown && self.disk.is_idle() && self.provisional.is_empty() && self.held.len() == 0
    }

    pub(super) fn pending_files(&self) -> Vec<PendingFile> {
        let provisional = self.provisional.keys().map(|path| PendingFile {
            path: path.to_string(),
            reason: PendingReason::Provisional,
            error: String::new(),
        });
        provisional.chain(self.disk.pending_files()).collect()
    }

    fn report_sync(&mut self, cx: &mut Context) {
        if self.disk.has_failures() {
            cx.degrade(DegradedReason::PendingFiles, "some files were accepted and are not on disk");
        } else {
            cx.recover(DegradedReason::PendingFiles);
        }
        let behind = self.head.is_some_and(|head| head > self.known) && self.legacy.is_none();
        if !behind {
            cx.recover(DegradedReason::Behind);
        }
        self.report_head_age(cx);
        let current = self.is_current(cx.now);
        // A write that is only running does not count as leaving the database's state.
        let is_unknown = self.visibility.is_lagging() || !self.is_head_recent(cx.now);
        let left = behind || is_unknown || self.disk.has_failures() || !self.provisional.is_empty();
        if current != self.reported_in_sync && (current || left) {
            self.reported_in_sync = current;
            cx.event(Event::InSync { current, revision: self.known });
        }
    }

    /// Makes the row of `path` the disk's target, unless a provisional file takes precedence.
    pub(super) fn follow_row(&mut self, cx: &mut Context, path: &str, content: Option<Content>, origin: Origin) {
        let row = self.table.get(path).copied();
        let path = match ProjectPath::parse(path) {
            Ok(path) => path,
            Err(error) => {
                if row.is_some_and(|row| row.is_live()) {
                    cx.rejected(RejectReason::Path, error);
                }
                return;
            }
        };
        self.end_local_change(cx, &path);
        if let Some(provisional) = self.provisional.get(&path) {
            if row.is_none_or(|row| row.version < Some(provisional.version)) {
                return;
            }
            self.provisional.remove(&path);
        }
        let target = match row {
            Some(Row { version, revision, state: RowState::Live { hash, size } }) => {
                TargetState { hash: Some(hash), size, version, revision: Some(revision) }
            }
            Some(Row { version, revision, state: RowState::Tombstone }) => {
                TargetState { hash: None, size: None, version, revision: Some(revision) }
            }
            None => TargetState { hash: None, size: None, version: None, revision: None },
        };
        self.disk.set_target(cx, path, target, content, origin);
    }

    /// The catch-up that runs now.
    pub(super) fn running_catch_up(&mut self) -> Option<&mut RunningCatchUp> {
        self.catch_ups.running.as_mut()
    }
}
