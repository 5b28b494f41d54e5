//! What the directory is to become, and what is known of it.

mod batch;

use std::collections::BTreeMap;
use std::time::Duration;

use super::pending_write::{ContentState, Group, GroupKind, Origin, PendingWrite, TargetState, WriteFailure};
use super::pending_writes::PendingWrites;
use super::visibility::MissingVersion;
use crate::context::{Context, clip};
use crate::time::{Timer, TimerReason, earliest};
use crate::{
    BatchId, Content, ContentHash, Event, Output, PendingFile, PendingReason, ProjectPath, ReadId, RejectReason,
    Revision, Time,
};

/// The longest that a bulk waits for omitted content before the rest of it is renamed.
const BULK_CONTENT_WAIT: Duration = Duration::from_secs(5);
/// The time between attempts at content that does not match its hash: only a new or a repaired row can help.
const UNVERIFIABLE_RETRY: Duration = Duration::from_secs(60);

/// What is on disk, and every path that was accepted and is not there yet.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Files that are in the project because of the snapshot or the database, with the hash of their content.
    owned: BTreeMap<ProjectPath, ContentHash>,
    pending: PendingWrites,
    running: Option<RunningBatch>,
    groups: BTreeMap<u64, Group>,
    last_id: u64,
    /// The time of the last `flush`: what was due by then was dealt with.
    flushed_at: Time,
    applied: Option<Duration>,
}

/// The batch that is being written.
#[derive(Debug)]
struct RunningBatch {
    id: BatchId,
    writes: BTreeMap<ProjectPath, PendingWrite>,
}

/// What a failed attempt was at, and when to try again at the earliest.
#[derive(Debug)]
pub(crate) struct Failure {
    pub reason: PendingReason,
    pub error: String,
    /// The shortest wait, in place of the backoff's where that is shorter.
    pub least: Duration,
}

impl Failure {
    pub fn new(reason: PendingReason, error: impl Into<String>) -> Failure {
        Failure { reason, error: error.into(), least: Duration::ZERO }
    }
}

impl Disk {
    /// Records a file that the snapshot put into the project.
    pub fn adopt(&mut self, path: ProjectPath, hash: ContentHash) {
        self.owned.insert(path, hash);
    }

    /// Records the content that was found at `path`; `None`: no file.
    pub fn record_observed(&mut self, path: &ProjectPath, hash: Option<ContentHash>) {
        match hash {
            Some(hash) => self.owned.insert(path.clone(), hash),
            None => self.owned.remove(path),
        };
    }

    /// The hash of the content at `path`, as far as is known.
    pub fn current_hash(&self, path: &ProjectPath) -> Option<ContentHash> {
        self.owned.get(path).copied()
    }

    /// Whether a write of `path` is pending or running.
    pub fn is_pending(&self, path: &ProjectPath) -> bool {
        self.pending.contains(path) || self.is_running(path)
    }

    pub fn owns(&self, path: &ProjectPath) -> bool {
        self.owned.contains_key(path)
    }

    /// Every owned path.
    pub fn paths(&self) -> impl Iterator<Item = &ProjectPath> {
        self.owned.keys()
    }

    pub fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Whether every accepted path is on disk.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.running.is_none()
    }

    /// Opens a group for the paths of one change.
    pub fn open_group(&mut self, now: Time, revision: Option<Revision>, kind: GroupKind) -> u64 {
        let wait_until = now.after(BULK_CONTENT_WAIT);
        let id = self.next_id();
        self.groups.insert(id, Group { revision, kind, wait_until, files: 0, remaining: 0, changed: 0 });
        id
    }

    /// Closes a group to which no path was added.
    pub fn close_group(&mut self, group: u64) {
        if self.groups.get(&group).is_some_and(|group| group.remaining == 0) {
            self.groups.remove(&group);
        }
    }

    /// Sets what `path` is to become, in place of any earlier target. `content` matches the target's hash.
    pub fn set_target(
        &mut self,
        cx: &mut Context,
        path: ProjectPath,
        target: TargetState,
        content: Option<Content>,
        origin: Origin,
    ) {
        let mut content = content;
        let mut failure = None;
        if let Some(before) = self.pending.remove(&path) {
            self.leave_group(cx, &before.origin, false);
            failure = before.failure;
            match before.content {
                ContentState::Available(old) if before.target.hash == target.hash && content.is_none() => {
                    content = Some(old);
                }
                ContentState::Available(old) => discard(cx, old),
                ContentState::Missing | ContentState::Requested(_) => {}
            }
        }
        if self.is_satisfied(&path, &target) {
            if let Some(content) = content {
                discard(cx, content);
            }
            if failure.is_some() {
                cx.event(Event::PendingFileResolved { path: path.to_string() });
            }
            return;
        }
        if let Some(group) = origin.group.and_then(|group| self.groups.get_mut(&group)) {
            group.files = group.files.saturating_add(1);
            group.remaining = group.remaining.saturating_add(1);
        }
        self.pending.insert(path, PendingWrite { failure, ..PendingWrite::new(cx.now, target, content, origin) });
    }

    /// Whether the disk has the target's state already, and no running batch changes it.
    fn is_satisfied(&self, path: &ProjectPath, target: &TargetState) -> bool {
        let running = self.is_running(path);
        !running && self.owned.get(path) == target.hash.as_ref()
    }

    fn is_running(&self, path: &ProjectPath) -> bool {
        self.running.as_ref().is_some_and(|batch| batch.writes.contains_key(path))
    }

    /// The pending write of `path`.
    pub fn pending(&self, path: &ProjectPath) -> Option<&PendingWrite> {
        self.pending.get(path)
    }

    /// Up to `limit` paths whose content must be fetched now.
    pub fn needs_content(&self, now: Time, limit: usize) -> Vec<ProjectPath> {
        self.pending.needs_content(now, limit)
    }

    /// Records that `read` was sent for the content of `path`.
    pub fn content_requested(&mut self, path: &ProjectPath, read: ReadId) {
        self.pending.update(path, |pending| pending.content = ContentState::Requested(read));
    }

    /// The pending write that `read` was sent for, if it is still the newest of its path.
    pub fn requested_by(&self, path: &ProjectPath, read: ReadId) -> Option<&PendingWrite> {
        self.pending.get(path).filter(|pending| pending.content == ContentState::Requested(read))
    }

    /// Supplies content that matches the target's hash.
    pub fn supply_content(&mut self, path: &ProjectPath, content: Content) {
        if let Some(mut pending) = self.pending.remove(path) {
            pending.content = ContentState::Available(content);
            pending.not_before = Time::default();
            self.pending.insert(path.clone(), pending);
        }
    }

    /// Fetches the content again at once; this is not a failure yet.
    pub fn request_again(&mut self, path: &ProjectPath) {
        self.pending.update(path, |pending| pending.content = ContentState::Missing);
    }

    /// The version of `path` is not readable yet: asks again soon. False: it was missing for too long.
    pub fn await_version(&mut self, now: Time, path: &ProjectPath) -> bool {
        let wait = self.pending.update(path, |pending| {
            let wait = MissingVersion::next_wait(&mut pending.missing_version, now)?;
            pending.content = ContentState::Missing;
            pending.not_before = now.after(wait);
            Some(wait)
        });
        wait.flatten().is_some()
    }

    /// Reads work again: content that could not be fetched is fetched now.
    pub fn retry_fetches(&mut self, now: Time) {
        let failed = |pending: &PendingWrite| {
            pending.failure.as_ref().is_some_and(|failure| failure.reason == PendingReason::FetchFailed)
        };
        self.pending.retry_at(now, failed);
    }

    /// Records that the content is in storage, not in the row.
    pub fn mark_in_storage(&mut self, path: &ProjectPath) {
        self.pending.update(path, |pending| pending.in_storage = true);
    }

    /// A read brought content with the hash `got`, which is not the target's. The first time it is fetched again; if a
    /// second read agrees with the first, the file is unverifiable until its row changes.
    pub fn wrong_content(&mut self, cx: &mut Context, path: &ProjectPath, got: ContentHash) {
        let Some(before) = self.pending.update(path, |pending| pending.mismatched_hash.replace(got)) else { return };
        let error = format!("the content hashes to {got}");
        if before != Some(got) {
            cx.rejected(RejectReason::ContentHash, format!("{path}: {error}"));
            return self.request_again(path);
        }
        let least = UNVERIFIABLE_RETRY;
        self.record_failure(cx, path, Failure { reason: PendingReason::Unverifiable, error, least });
    }

    /// A fetch or a write failed: the path stays pending and is tried again later.
    pub fn record_failure(&mut self, cx: &mut Context, path: &ProjectPath, failure: Failure) {
        let Failure { reason, error, least } = failure;
        let error = clip(error);
        let updated = self.pending.update(path, |pending| {
            let before = pending.failure.replace(WriteFailure { reason, error: error.clone() });
            pending.not_before = cx.now.after(pending.backoff.next(cx.rng).max(least));
            pending.earliest = cx.now.after(least);
            if let ContentState::Requested(_) = pending.content {
                pending.content = ContentState::Missing;
            }
            let origin = pending.origin;
            pending.origin.group = None;
            (before, origin)
        });
        let Some((before, origin)) = updated else { return };
        if before.is_none_or(|before| before.reason != reason) {
            cx.event(Event::PendingFileAdded { path: path.to_string(), reason, error });
        }
        self.leave_group(cx, &origin, false);
    }

    /// Makes everything due now that waits for a later attempt.
    pub fn retry_now(&mut self, now: Time) {
        self.pending.retry_at(now, |_| true);
    }

    pub fn deadline(&self) -> Option<Timer> {
        // A running batch is waited for.
        if self.pending.is_empty() || self.running.is_some() {
            return None;
        }
        let waits = self.groups.values().map(|group| group.wait_until).filter(|until| *until > self.flushed_at);
        earliest([
            self.pending.next_after(self.flushed_at).map(|at| TimerReason::FileRetry.at(at)),
            waits.min().map(|at| TimerReason::BulkTimeout.at(at)),
        ])
    }

    /// The largest lag of what was written since the last call.
    pub fn take_applied(&mut self) -> Option<Duration> {
        self.applied.take()
    }

    /// Files accepted and not on disk yet, except those that are ready to be written.
    pub fn pending_files(&self) -> impl Iterator<Item = PendingFile> {
        self.pending.iter().filter_map(|(path, pending)| {
            let (reason, error) = match &pending.failure {
                Some(failure) => (failure.reason, failure.error.clone()),
                None if pending.lacks_content() => (PendingReason::Fetching, String::new()),
                None => return None,
            };
            Some(PendingFile { path: path.to_string(), reason, error })
        })
    }

    /// Whether a path failed and is not on disk yet.
    pub fn has_failures(&self) -> bool {
        self.pending.has_failures()
    }

    fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }
}

/// Removes content that will not be written from the staging directory.
pub(crate) fn discard(cx: &mut Context, content: Content) {
    if let Content::Staged(stage) = content {
        cx.outputs.push_back(Output::Discard(stage));
    }
}
