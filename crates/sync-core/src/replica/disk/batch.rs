//! Batches: what is ready is sent as one, and its outcome is recorded.

use std::collections::BTreeMap;

use super::{Disk, Failure, RunningBatch, discard};
use crate::context::Context;
use crate::files::plan;
use crate::replica::pending_write::{ContentState, Group, GroupKind, Origin, PendingWrite, TargetState};
use crate::{
    BatchId, Content, Event, FileAction, Op, OpResult, Outcome, Output, PendingReason, ProjectPath, SkipReason,
};

/// Content above this size is not kept after a failure, in bytes.
const KEEP_AFTER_FAILURE: usize = 64 << 10;
/// The most operations of one batch: the largest bulk there is.
const MAX_BATCH: usize = 10_000;

impl Disk {
    /// Sends what is ready as one batch, unless one is running: later writes gather for the next.
    pub fn flush(&mut self, cx: &mut Context) {
        if self.running.is_some() {
            return;
        }
        self.flushed_at = cx.now;
        let may_wait = |group: u64| self.groups.get(&group).is_some_and(|group| group.wait_until > cx.now);
        let ready = self.pending.ready(cx.now, may_wait, MAX_BATCH);
        let mut writes = BTreeMap::new();
        let mut ops = Vec::new();
        for path in ready {
            let Some(pending) = self.pending.remove(&path) else { continue };
            if self.is_satisfied(&path, &pending.target) {
                if let ContentState::Available(content) = &pending.content {
                    discard(cx, content.clone());
                }
                self.finish(cx, &path, pending, &Outcome::Unchanged);
                continue;
            }
            ops.push(operation(&path, &pending));
            writes.insert(path, pending);
        }
        if ops.is_empty() {
            return;
        }
        plan::order(&mut ops, |path| self.owned.contains_key(path));
        let id = BatchId(self.next_id());
        self.running = Some(RunningBatch { id, writes });
        cx.outputs.push_back(Output::Write(id, ops));
    }

    /// A batch ended.
    pub fn written(&mut self, cx: &mut Context, id: BatchId, results: Vec<OpResult>) {
        let Some(RunningBatch { mut writes, .. }) = self.running.take_if(|batch| batch.id == id) else {
            return cx.skipped(SkipReason::UnknownBatch);
        };
        for OpResult { path, outcome } in results {
            let Some(pending) = writes.remove(&path) else { continue };
            match outcome {
                Outcome::Failed { reason, error } => self.write_failed(cx, path, pending, Failure::new(reason, error)),
                outcome => {
                    match pending.target.hash {
                        Some(hash) => self.owned.insert(path.clone(), hash),
                        None => self.owned.remove(&path),
                    };
                    self.finish(cx, &path, pending, &outcome);
                }
            }
        }
        for (path, pending) in writes {
            let failure = Failure::new(PendingReason::Io, "the batch ended without a result for this path");
            self.write_failed(cx, path, pending, failure);
        }
    }

    /// The write is pending again, unless a newer one of the same path is.
    fn write_failed(&mut self, cx: &mut Context, path: ProjectPath, mut pending: PendingWrite, failure: Failure) {
        if self.pending.contains(&path) {
            return self.leave_group(cx, &pending.origin, false);
        }
        let is_small = |bytes: &bytes::Bytes| bytes.len() <= KEEP_AFTER_FAILURE;
        if !matches!(&pending.content, ContentState::Available(Content::Bytes(bytes)) if is_small(bytes)) {
            pending.content = ContentState::Missing;
        }
        self.pending.insert(path.clone(), pending);
        self.record_failure(cx, &path, failure);
    }

    fn finish(&mut self, cx: &mut Context, path: &ProjectPath, pending: PendingWrite, outcome: &Outcome) {
        let changed = matches!(outcome, Outcome::Changed { .. });
        if let Outcome::Changed { bytes, .. } = *outcome {
            let TargetState { hash, version, revision, .. } = pending.target;
            let Origin { received, sent_at_ms, .. } = pending.origin;
            let lag = cx.now.since(received);
            let action = if hash.is_some() { FileAction::Updated } else { FileAction::Deleted };
            let path = path.clone();
            self.applied = self.applied.max(Some(lag));
            cx.event(Event::FileApplied { path, version, revision, bytes, action, lag, sent_at_ms });
        }
        if pending.failure.is_some() {
            cx.event(Event::PendingFileResolved { path: path.to_string() });
        }
        self.leave_group(cx, &pending.origin, changed);
    }

    /// A path of a group is done with; the last one logs a bulk.
    pub(super) fn leave_group(&mut self, cx: &mut Context, origin: &Origin, changed: bool) {
        let Some(id) = origin.group else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.remaining = group.remaining.saturating_sub(1);
        group.changed = group.changed.saturating_add(usize::from(changed));
        if group.remaining > 0 {
            return;
        }
        let Group { revision, kind, files, changed, .. } = *group;
        self.groups.remove(&id);
        if kind == GroupKind::Bulk {
            let (lag, sent_at_ms) = (cx.now.since(origin.received), origin.sent_at_ms);
            cx.event(Event::BulkApplied { revision, files, changed, lag, sent_at_ms });
        }
    }
}

fn operation(path: &ProjectPath, pending: &PendingWrite) -> Op {
    let path = path.clone();
    let TargetState { hash, version, revision, .. } = pending.target;
    match (hash, &pending.content) {
        (Some(hash), ContentState::Available(content)) => {
            Op::Write { path, content: content.clone(), hash, version, revision }
        }
        _ => Op::Delete { path, version, revision },
    }
}
