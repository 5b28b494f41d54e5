use std::collections::BTreeMap;
use std::time::Duration;

use crate::cx::{Cx, clip, earliest};
use crate::wish::{Group, Have, Origin, Pending, Want};
use crate::wishes::Wishes;
use crate::{
    BatchId, Content, ContentHash, Event, Op, Outcome, Output, ProjectPath, ReadId, Revision, Time, Written, plan,
};

/// The longest that a bulk waits for omitted content before the rest of it is renamed.
const BULK_PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts at content that does not match its hash: only a new row, or a repaired one, can help.
const UNVERIFIABLE_RETRY: Duration = Duration::from_secs(60);
/// Content above this is not kept over a failure, in bytes.
const KEEP_AFTER_FAILURE: usize = 64 << 10;
/// The most operations of one batch: the largest bulk there is.
const MAX_BATCH: usize = 10_000;

/// What the directory should become and what is known of it: every path accepted and not yet on disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What lies in the project because of the snapshot or the database.
    owned: BTreeMap<ProjectPath, ContentHash>,
    pending: Wishes,
    in_flight: Option<(BatchId, BTreeMap<ProjectPath, Pending>)>,
    groups: BTreeMap<u64, Group>,
    next_id: u64,
    /// When `flush` last looked: later times are still to come.
    looked: Time,
    applied: Option<Duration>,
}

impl Disk {
    /// Takes over a file that lies in the project because of the snapshot.
    pub fn adopt(&mut self, path: ProjectPath, hash: ContentHash) {
        self.owned.insert(path, hash);
    }

    /// Takes in what lies at `path` by somebody else's hand.
    pub fn saw(&mut self, path: &ProjectPath, hash: Option<ContentHash>) {
        match hash {
            Some(hash) => self.owned.insert(path.clone(), hash),
            None => self.owned.remove(path),
        };
    }

    /// What lies at `path`, as far as is known.
    pub fn standing(&self, path: &ProjectPath) -> Option<ContentHash> {
        self.owned.get(path).copied()
    }

    /// Something is wished of `path` or under way for it.
    pub fn is_wished(&self, path: &ProjectPath) -> bool {
        self.pending.contains(path) || self.in_flight.as_ref().is_some_and(|(_, ops)| ops.contains_key(path))
    }

    pub fn owns(&self, path: &ProjectPath) -> bool {
        self.owned.contains_key(path)
    }

    /// What lies in the project because of the snapshot or the database.
    pub fn paths(&self) -> impl Iterator<Item = &ProjectPath> {
        self.owned.keys()
    }

    pub fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Everything that was asked for is on disk.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none()
    }

    /// Opens a group for the paths of one change.
    pub fn group(&mut self, now: Time, revision: Option<Revision>, bulk: bool) -> u64 {
        self.next_id += 1;
        let patient_until = now.after(BULK_PATIENCE);
        self.groups.insert(self.next_id, Group { revision, bulk, patient_until, files: 0, left: 0, changed: 0 });
        self.next_id
    }

    /// Closes a group that got no paths.
    pub fn end_group(&mut self, group: u64) {
        if self.groups.get(&group).is_some_and(|group| group.left == 0) {
            self.groups.remove(&group);
        }
    }

    /// Wishes `path` to be so, instead of whatever was wished before. `content` matches the hash.
    pub fn want(&mut self, cx: &mut Cx, path: ProjectPath, want: Want, content: Option<Content>, origin: Origin) {
        let mut content = content;
        let mut trouble = None;
        if let Some(before) = self.pending.remove(&path) {
            self.leave_group(cx, &before.origin, false);
            trouble = before.trouble;
            match before.content {
                Have::Content(old) if before.want.hash == want.hash && content.is_none() => content = Some(old),
                Have::Content(old) => discard(cx, old),
                Have::Nothing | Have::Asked(_) => {}
            }
        }
        if self.is_so(&path, &want) {
            if let Some(content) = content {
                discard(cx, content);
            }
            if trouble.is_some() {
                cx.event(Event::DebtPaid { path: path.to_string() });
            }
            return;
        }
        if let Some(group) = origin.group.and_then(|group| self.groups.get_mut(&group)) {
            group.files += 1;
            group.left += 1;
        }
        self.pending.insert(path, Pending { trouble, ..Pending::new(cx.now, want, content, origin) });
    }

    /// Nothing has to be done for `want`: the disk is so and nothing under way changes it.
    fn is_so(&self, path: &ProjectPath, want: &Want) -> bool {
        let busy = self.in_flight.as_ref().is_some_and(|(_, ops)| ops.contains_key(path));
        !busy && self.owned.get(path) == want.hash.as_ref()
    }

    /// What is wished of `path` and not yet so.
    pub fn wanted(&self, path: &ProjectPath) -> Option<&Pending> {
        self.pending.get(path)
    }

    /// Paths whose content must be fetched now, at most so many.
    pub fn hungry(&self, now: Time, most: usize) -> Vec<ProjectPath> {
        self.pending.hungry(now, most)
    }

    pub fn asked(&mut self, path: &ProjectPath, read: ReadId) {
        self.pending.update(path, |pending| pending.content = Have::Asked(read));
    }

    /// The wish that `read` was asked for, if it still stands.
    pub fn asker(&self, path: &ProjectPath, read: ReadId) -> Option<&Pending> {
        self.pending.get(path).filter(|pending| pending.content == Have::Asked(read))
    }

    /// Hands in content that matches the hash of a wish.
    pub fn feed(&mut self, path: &ProjectPath, content: Content) {
        if let Some(pending) = self.pending.remove(path) {
            self.pending
                .insert(path.clone(), Pending { content: Have::Content(content), at: Time::default(), ..pending });
        }
    }

    /// Asks again soon, by another way: no trouble yet.
    pub fn ask_again(&mut self, path: &ProjectPath) {
        self.pending.update(path, |pending| pending.content = Have::Nothing);
    }

    /// Its content lies in storage, not in the row.
    pub fn in_storage(&mut self, path: &ProjectPath) {
        self.pending.update(path, |pending| pending.in_storage = true);
    }

    /// A read brought bytes that hash to `got`. The first time they are asked for again; if another read says the
    /// same, the file is unverifiable until its row changes.
    pub fn wrong_content(&mut self, cx: &mut Cx, path: &ProjectPath, got: ContentHash) {
        let Some(before) = self.pending.update(path, |pending| pending.wrong.replace(got)) else { return };
        let error = format!("the content hashes to {got}");
        if before != Some(got) {
            cx.rejected("content_hash", format!("{path}: {error}"));
            return self.ask_again(path);
        }
        self.trouble(cx, path, "unverifiable", error, Some(UNVERIFIABLE_RETRY));
    }

    /// A fetch or a write failed: a debt, tried again later.
    pub fn trouble(
        &mut self,
        cx: &mut Cx,
        path: &ProjectPath,
        reason: &'static str,
        error: String,
        least: Option<Duration>,
    ) {
        let error = clip(error);
        let troubled = self.pending.update(path, |pending| {
            let before = pending.trouble.replace((reason, error.clone()));
            let wait = pending.backoff.next(cx.rng).max(least.unwrap_or_default());
            pending.at = cx.now.after(wait);
            if let Have::Asked(_) = pending.content {
                pending.content = Have::Nothing;
            }
            let origin = pending.origin;
            pending.origin.group = None;
            (before, origin)
        });
        let Some((before, origin)) = troubled else { return };
        if before.is_none_or(|(old, _)| old != reason) {
            cx.event(Event::DebtAdded { path: path.to_string(), reason, error });
        }
        self.leave_group(cx, &origin, false);
    }

    /// What waited for a healthier world need not wait any longer.
    pub fn retry_now(&mut self, now: Time) {
        self.pending.hurry(now);
    }

    /// Sends what is ready as one batch, unless one is under way: later wishes gather for the next.
    pub fn flush(&mut self, cx: &mut Cx) {
        if self.in_flight.is_some() {
            return;
        }
        self.looked = cx.now;
        let patient = |group: u64| self.groups.get(&group).is_some_and(|group| group.patient_until > cx.now);
        let ready = self.pending.ready(cx.now, patient, MAX_BATCH);
        let mut batch = BTreeMap::new();
        let mut ops = Vec::new();
        for path in ready {
            let Some(pending) = self.pending.remove(&path) else { continue };
            if self.is_so(&path, &pending.want) {
                if let Have::Content(content) = &pending.content {
                    discard(cx, content.clone());
                }
                self.settled(cx, &path, pending, &Outcome::Unchanged);
                continue;
            }
            let Want { hash, version, revision, .. } = pending.want;
            ops.push(match (hash, &pending.content) {
                (Some(hash), Have::Content(content)) => {
                    Op::Write { path: path.clone(), content: content.clone(), hash, version, revision }
                }
                _ => Op::Delete { path: path.clone(), version, revision },
            });
            batch.insert(path, pending);
        }
        if ops.is_empty() {
            return;
        }
        plan::order(&mut ops, |path| self.owned.contains_key(path));
        self.next_id += 1;
        let id = BatchId(self.next_id);
        self.in_flight = Some((id, batch));
        cx.outputs.push_back(Output::Write(id, ops));
    }

    /// A batch came back.
    pub fn written(&mut self, cx: &mut Cx, id: BatchId, written: Vec<Written>) {
        let Some((_, mut batch)) = self.in_flight.take_if(|(batch, _)| *batch == id) else {
            return cx.skipped("unknown_batch");
        };
        for Written { path, outcome } in written {
            let Some(pending) = batch.remove(&path) else { continue };
            match outcome {
                Outcome::Failed { reason, error } => self.failed(cx, path, pending, reason, error),
                outcome => {
                    match pending.want.hash {
                        Some(hash) => self.owned.insert(path.clone(), hash),
                        None => self.owned.remove(&path),
                    };
                    self.settled(cx, &path, pending, &outcome);
                }
            }
        }
        for (path, pending) in batch {
            self.failed(cx, path, pending, "io", "the batch came back without an outcome for it".into());
        }
    }

    /// The wish goes back to the others, unless a newer one came meanwhile.
    fn failed(&mut self, cx: &mut Cx, path: ProjectPath, mut pending: Pending, reason: &'static str, error: String) {
        if self.pending.contains(&path) {
            return self.leave_group(cx, &pending.origin, false);
        }
        let keep =
            matches!(&pending.content, Have::Content(Content::Bytes(bytes)) if bytes.len() <= KEEP_AFTER_FAILURE);
        if !keep {
            pending.content = Have::Nothing;
        }
        self.pending.insert(path.clone(), pending);
        self.trouble(cx, &path, reason, error, None);
    }

    fn settled(&mut self, cx: &mut Cx, path: &ProjectPath, pending: Pending, outcome: &Outcome) {
        let changed = matches!(outcome, Outcome::Changed { .. });
        if let Outcome::Changed { created, bytes } = *outcome {
            let Want { hash, version, revision, .. } = pending.want;
            let Origin { received, sent_at_ms, .. } = pending.origin;
            let (deleted, lag) = (hash.is_none(), cx.now.since(received));
            let path = path.clone();
            self.applied = self.applied.max(Some(lag));
            cx.event(Event::FileApplied { path, version, revision, bytes, deleted, created, lag, sent_at_ms });
        }
        if pending.trouble.is_some() {
            cx.event(Event::DebtPaid { path: path.to_string() });
        }
        self.leave_group(cx, &pending.origin, changed);
    }

    fn leave_group(&mut self, cx: &mut Cx, origin: &Origin, changed: bool) {
        let Some(id) = origin.group else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.left = group.left.saturating_sub(1);
        group.changed += usize::from(changed);
        if group.left > 0 {
            return;
        }
        let Group { revision, bulk, files, changed, .. } = *group;
        self.groups.remove(&id);
        if bulk {
            let (lag, sent_at_ms) = (cx.now.since(origin.received), origin.sent_at_ms);
            cx.event(Event::BulkApplied { revision, files, changed, lag, sent_at_ms });
        }
    }

    /// When something is to be tried again, or a bulk's patience ends.
    pub fn deadline(&self) -> Option<Time> {
        // While a batch is under way its end is waited for.
        if self.pending.is_empty() || self.in_flight.is_some() {
            return None;
        }
        let patience = self.groups.values().map(|group| group.patient_until);
        earliest([self.pending.next_after(self.looked), patience.filter(|until| *until > self.looked).min()])
    }

    /// The largest lag of what was written since this was last asked.
    pub fn take_applied(&mut self) -> Option<Duration> {
        self.applied.take()
    }

    /// Accepted and not on disk: path, reason, error.
    pub fn debts(&self) -> impl Iterator<Item = (&ProjectPath, &'static str, &str)> {
        self.pending.iter().filter_map(|(path, pending)| match (&pending.trouble, &pending.content) {
            (Some((reason, error)), _) => Some((path, *reason, error.as_str())),
            (None, Have::Content(_)) => None,
            (None, _) => pending.want.hash.map(|_| (path, "fetching", "")),
        })
    }

    /// Whether something failed and was not made good yet.
    pub fn has_trouble(&self) -> bool {
        self.pending.has_trouble()
    }
}

/// Lets go of content that will not be written.
pub(crate) fn discard(cx: &mut Cx, content: Content) {
    if let Content::Staged(stage) = content {
        cx.outputs.push_back(Output::Discard(stage));
    }
}
