//! The project's directory as a replica of the database's sequence of revisions.

mod accept;
mod active;
mod catch_up;
mod complete;
mod disk;
mod fetch;
mod head_poll;
mod held_events;
mod legacy;
mod local_changes;
mod observe;
mod pending_write;
mod pending_writes;
mod provisional;
mod reads;
mod restore;
mod visibility;

use std::time::Duration;

use crate::context::Context;
use crate::files::digest::TableDigest;
use crate::time::Timer;
use crate::wire::event_payload::{DecodedEvent, is_project_event, read_event};
use crate::{
    Answer, BatchId, Hydration, LocalChangePolicy, OpResult, Options, PendingFile, ReadError, ReadId, RejectReason,
    Restored, Revision, Saved, SkipReason, Time, error_chain,
};

use active::ActiveReplica;
use held_events::HeldEvents;
pub use local_changes::LocalChange;

/// What was accepted, what is on disk, and the reads that bring both to the database's state.
#[derive(Debug)]
pub(crate) enum Replica {
    /// The project's files are not in place yet: events are held.
    AwaitingFiles(AwaitingFiles),
    Active(Box<ActiveReplica>),
}

#[derive(Debug, Default)]
pub(crate) struct AwaitingFiles {
    settings: Settings,
    held: HeldEvents,
    /// When the newest token was taken into use.
    token_since: Time,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// There is a database to read.
    has_database: bool,
    local_changes: LocalChangePolicy,
}

impl Replica {
    pub fn new(options: &Options) -> Replica {
        let settings = Settings { has_database: options.live.is_some(), local_changes: options.local_changes };
        Replica::AwaitingFiles(AwaitingFiles { settings, ..AwaitingFiles::default() })
    }

    /// The snapshot is in place.
    pub fn hydrated(&mut self, cx: &mut Context, hydration: Hydration) {
        if let Some(active) = self.activate(cx) {
            active.hydrated(cx, hydration);
        }
    }

    /// The directory was kept, with the state of an earlier agent.
    pub fn restored(&mut self, cx: &mut Context, restored: Restored) {
        if let Some(active) = self.activate(cx) {
            active.restored(cx, restored);
        }
    }

    /// An active replica in place of one that awaits its files; `None`: it is active already.
    fn activate(&mut self, cx: &mut Context) -> Option<&mut ActiveReplica> {
        let Replica::AwaitingFiles(awaiting) = self else {
            cx.skipped(SkipReason::HydratedTwice);
            return None;
        };
        *self = Replica::Active(Box::new(ActiveReplica::new(std::mem::take(awaiting))));
        self.active()
    }

    fn active(&mut self) -> Option<&mut ActiveReplica> {
        match self {
            Replica::AwaitingFiles(_) => None,
            Replica::Active(active) => Some(active),
        }
    }

    fn as_active(&self) -> Option<&ActiveReplica> {
        match self {
            Replica::AwaitingFiles(_) => None,
            Replica::Active(active) => Some(active),
        }
    }

    /// Events arrive (again): what was sent before will not come.
    pub fn streaming(&mut self, cx: &mut Context) {
        if let Some(active) = self.active() {
            active.streaming(cx);
        }
    }

    /// An event of the project's topic.
    pub fn broadcast(&mut self, cx: &mut Context, event: &str, payload: &[u8]) {
        let decoded = read_event(event, payload);
        match self {
            Replica::AwaitingFiles(awaiting) => match decoded {
                Ok(DecodedEvent::Change(change)) => {
                    if !awaiting.held.hold(change, cx.now) {
                        cx.skipped(SkipReason::HeldTooMany);
                    }
                }
                // The files are compared with the database once they are in place.
                Ok(DecodedEvent::SnapshotReady { .. }) => {}
                Ok(DecodedEvent::Unknown) => cx.skipped(SkipReason::UnknownEvent),
                Err(error) => cx.rejected(RejectReason::Event, error_chain(&error)),
            },
            Replica::Active(active) => active.broadcast(cx, decoded),
        }
    }

    /// An event of the project's topic whose payload is not JSON: something changed, and reading tells what.
    pub fn raw_broadcast(&mut self, cx: &mut Context, event: &str) {
        if !is_project_event(event) {
            return cx.skipped(SkipReason::UnknownEvent);
        }
        // Before the files are in place there is nothing to do: they are compared with the database then.
        if let Some(active) = self.active() {
            active.raw_broadcast(cx);
        }
    }

    /// A row of `project_files` changed.
    pub fn row_changed(&mut self, cx: &mut Context, payload: &[u8]) {
        if let Some(active) = self.active() {
            active.row_changed(cx, payload);
        }
    }

    /// A read ended.
    pub fn on_read(&mut self, cx: &mut Context, id: ReadId, result: Result<Answer, ReadError>) {
        match self {
            Replica::AwaitingFiles(_) => reads::discard_unknown(cx, result),
            Replica::Active(active) => active.on_read(cx, id, result),
        }
    }

    /// A batch ended.
    pub fn on_written(&mut self, cx: &mut Context, id: BatchId, results: Vec<OpResult>) {
        match self {
            Replica::AwaitingFiles(_) => cx.skipped(SkipReason::UnknownBatch),
            Replica::Active(active) => active.on_written(cx, id, results),
        }
    }

    /// Something other than the agent touched these files.
    pub fn observed(&mut self, cx: &mut Context, files: Vec<LocalChange>) {
        if let Some(active) = self.active() {
            active.observed(cx, files);
        }
    }

    /// A new token is in use: what was rejected is tried again.
    pub fn token_renewed(&mut self, cx: &mut Context) {
        match self {
            Replica::AwaitingFiles(awaiting) => awaiting.token_since = cx.now,
            Replica::Active(active) => active.token_renewed(cx),
        }
    }

    /// The machine was suspended: what waits for a later attempt is tried again, and the head is read.
    pub fn resumed(&mut self, cx: &mut Context) {
        if let Some(active) = self.active() {
            active.resumed(cx);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, cx: &mut Context) {
        if let Some(active) = self.active() {
            active.tick(cx);
        }
    }

    pub fn deadline(&self) -> Option<Timer> {
        self.as_active().and_then(ActiveReplica::deadline)
    }

    /// Everything up to this revision is accepted.
    pub fn known(&self) -> Revision {
        self.as_active().map_or(0, ActiveReplica::known)
    }

    /// The newest revision known to exist.
    pub fn head(&self) -> Option<Revision> {
        self.as_active().and_then(ActiveReplica::head)
    }

    /// Live paths of the table.
    pub fn files(&self) -> usize {
        self.as_active().map_or(0, ActiveReplica::files)
    }

    /// Events that are held.
    pub fn held(&self) -> usize {
        match self {
            Replica::AwaitingFiles(awaiting) => awaiting.held.len(),
            Replica::Active(active) => active.held(),
        }
    }

    /// The digest of what was accepted.
    pub fn digest(&self) -> TableDigest {
        self.as_active().map_or_else(TableDigest::default, ActiveReplica::digest)
    }

    /// Whether the agent is at the head, with every file on disk.
    pub fn is_current(&self, now: Time) -> bool {
        self.as_active().is_some_and(|active| active.is_current(now))
    }

    /// How long ago a read last showed the head.
    pub fn head_age(&self, now: Time) -> Option<Duration> {
        self.as_active().and_then(|active| active.head_age(now))
    }

    /// Files accepted and not yet on disk.
    pub fn pending_files(&self) -> Vec<PendingFile> {
        self.as_active().map_or_else(Vec::new, ActiveReplica::pending_files)
    }

    /// What the project's own code changed and the database did not change since.
    pub fn local_changes(&self) -> impl Iterator<Item = LocalChange> {
        self.as_active().into_iter().flat_map(ActiveReplica::local_changes)
    }

    /// The table as it is now. `None` before the files are in place.
    pub fn saved(&self, project_id: &str) -> Option<Saved> {
        self.as_active().map(|active| active.saved(project_id))
    }

    /// The largest lag of what was written since the last call.
    pub fn take_applied(&mut self) -> Option<Duration> {
        self.active().and_then(ActiveReplica::take_applied)
    }
}
