use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::pending_write::{ContentState, PendingWrite};
use crate::{ProjectPath, Time};

/// The most bytes of content that wait in memory; beyond it content is dropped and fetched again.
const MAX_CONTENT: usize = 64 << 20;

/// The newest pending write of each path. What is to be done about them is found without looking at each: there may be
/// as many as a project has files, and each answer of a read changes one.
#[derive(Debug, Default)]
pub(crate) struct PendingWrites {
    all: BTreeMap<ProjectPath, PendingWrite>,
    /// Without content, and not requested yet.
    needs_content: Due,
    /// Ready to be written, by the group that they belong to.
    ready: BTreeMap<Option<u64>, Due>,
    /// Of each group, how many lack content.
    lacking: BTreeMap<u64, usize>,
    /// How many become due at each time, of `needs_content` and `ready`.
    times: BTreeMap<Time, usize>,
    failed: usize,
    bytes: usize,
}

/// Paths by the time before which nothing is to be done about them.
type Due = BTreeMap<Time, BTreeSet<ProjectPath>>;

impl PendingWrites {
    pub fn get(&self, path: &ProjectPath) -> Option<&PendingWrite> {
        self.all.get(path)
    }

    pub fn contains(&self, path: &ProjectPath) -> bool {
        self.all.contains_key(path)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ProjectPath, &PendingWrite)> {
        self.all.iter()
    }

    /// Replaces the pending write of `path`. Content for which memory has no room is dropped.
    pub fn insert(&mut self, path: ProjectPath, mut pending: PendingWrite) {
        self.remove(&path);
        // A single file is always kept, whatever its size.
        if self.bytes > 0 && self.bytes.saturating_add(pending.content.bytes()) > MAX_CONTENT {
            pending.content = ContentState::Missing;
        }
        self.index(&path, &pending);
        self.all.insert(path, pending);
    }

    /// Removes the pending write of `path`, with its content.
    pub fn remove(&mut self, path: &ProjectPath) -> Option<PendingWrite> {
        let pending = self.all.remove(path)?;
        self.unindex(path, &pending);
        Some(pending)
    }

    /// Changes the pending write of `path`, if there is one.
    pub fn update<T>(&mut self, path: &ProjectPath, change: impl FnOnce(&mut PendingWrite) -> T) -> Option<T> {
        let (path, mut pending) = self.all.remove_entry(path)?;
        self.unindex(&path, &pending);
        let changed = change(&mut pending);
        self.index(&path, &pending);
        self.all.insert(path, pending);
        Some(changed)
    }

    /// Up to `limit` paths whose content is to be fetched now.
    pub fn needs_content(&self, now: Time, limit: usize) -> Vec<ProjectPath> {
        due(&self.needs_content, now).take(limit).cloned().collect()
    }

    /// Up to `limit` paths that are to be written now, in the order of their paths. A group of which a file still lacks
    /// content is left out while `may_wait` says so.
    pub fn ready(&self, now: Time, may_wait: impl Fn(u64) -> bool, limit: usize) -> Vec<ProjectPath> {
        let waits =
            |group: &Option<u64>| group.is_some_and(|group| self.lacking.contains_key(&group) && may_wait(group));
        let groups = self.ready.iter().filter(|(group, _)| !waits(group));
        let mut ready: Vec<_> = groups.flat_map(|(_, paths)| due(paths, now)).take(limit).cloned().collect();
        ready.sort_unstable();
        ready
    }

    /// The next time after `now` at which a path becomes due.
    pub fn next_after(&self, now: Time) -> Option<Time> {
        self.times.range((Excluded(now), Unbounded)).next().map(|(at, _)| *at)
    }

    /// Makes what `wanted` selects due at `now` where it would be due later.
    pub fn retry_at(&mut self, now: Time, wanted: impl Fn(&PendingWrite) -> bool) {
        let is_later = |pending: &PendingWrite| pending.not_before > now && wanted(pending);
        let later = self.all.iter().filter(|(_, pending)| is_later(pending)).map(|(path, _)| path.clone());
        for path in later.collect::<Vec<_>>() {
            self.update(&path, |pending| pending.not_before = pending.not_before.min(now.max(pending.earliest)));
        }
    }

    /// Whether a path failed and is not on disk yet.
    pub fn has_failures(&self) -> bool {
        self.failed > 0
    }

    fn index(&mut self, path: &ProjectPath, pending: &PendingWrite) {
        self.bytes = self.bytes.saturating_add(pending.content.bytes());
        self.failed = self.failed.saturating_add(usize::from(pending.failure.is_some()));
        if let (true, Some(group)) = (pending.lacks_content(), pending.origin.group) {
            count_up(&mut self.lacking, group);
        }
        if let Some(due) = self.due_of(pending) {
            due.entry(pending.not_before).or_default().insert(path.clone());
            count_up(&mut self.times, pending.not_before);
        }
    }

    fn unindex(&mut self, path: &ProjectPath, pending: &PendingWrite) {
        self.bytes = self.bytes.saturating_sub(pending.content.bytes());
        self.failed = self.failed.saturating_sub(usize::from(pending.failure.is_some()));
        if let (true, Some(group)) = (pending.lacks_content(), pending.origin.group) {
            count_down(&mut self.lacking, &group);
        }
        if let Some(due) = self.due_of(pending) {
            let left = due.get_mut(&pending.not_before).is_some_and(|paths| paths.remove(path) && !paths.is_empty());
            if !left {
                due.remove(&pending.not_before);
            }
            count_down(&mut self.times, &pending.not_before);
        }
        if self.ready.get(&pending.origin.group).is_some_and(Due::is_empty) {
            self.ready.remove(&pending.origin.group);
        }
    }

    /// The index that a pending write belongs to; none while its content is requested.
    fn due_of(&mut self, pending: &PendingWrite) -> Option<&mut Due> {
        match pending.content {
            _ if !pending.lacks_content() => Some(self.ready.entry(pending.origin.group).or_default()),
            ContentState::Missing => Some(&mut self.needs_content),
            ContentState::Requested(_) | ContentState::Available(_) => None,
        }
    }
}

fn due(due: &Due, now: Time) -> impl Iterator<Item = &ProjectPath> {
    due.range(..=now).flat_map(|(_, paths)| paths)
}

fn count_up<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::replica::pending_write::{Origin, TargetState, WriteFailure};
    use crate::{Content, ContentHash, PendingReason, ReadId};

    fn path(at: usize) -> ProjectPath {
        ProjectPath::parse(&format!("file{at}")).unwrap()
    }

    /// A pending write of a random kind.
    fn pending_write(mut random: impl FnMut(u64) -> u64) -> PendingWrite {
        let hash = (random(4) > 0).then(|| ContentHash::of(b"x"));
        let group = Some(random(4)).filter(|group| *group > 0);
        let at = Time(Duration::from_secs(random(5)));
        let target = TargetState { hash, size: None, version: None, revision: None };
        let origin = Origin { received: at, sent_at_ms: None, group };
        let mut pending = PendingWrite::new(at, target, None, origin);
        pending.content = match random(3) {
            0 => ContentState::Missing,
            1 => ContentState::Requested(ReadId(random(9))),
            _ => ContentState::Available(Content::Bytes(vec![0; random(40) as usize * 1_000_000].into())),
        };
        let failure = WriteFailure { reason: PendingReason::Io, error: String::new() };
        pending.failure = (random(3) == 0).then_some(failure);
        pending
    }

    #[test]
    fn the_indexes_agree_with_a_scan_of_all_pending_writes() {
        let mut writes = PendingWrites::default();
        let mut state = 7_u64;
        let mut random = move |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        for step in 0..2_000 {
            let at = path(random(12) as usize);
            match random(4) {
                0 => drop(writes.remove(&at)),
                1 => drop(writes.update(&at, |pending| *pending = pending_write(&mut random))),
                _ => writes.insert(at, pending_write(&mut random)),
            }
            if random(50) == 0 {
                writes.retry_at(Time(Duration::from_secs(2)), |_| true);
            }
            let now = Time(Duration::from_secs(random(5)));
            let paths = |wanted: &dyn Fn(&PendingWrite) -> bool| -> BTreeSet<ProjectPath> {
                writes.iter().filter(|(_, pending)| wanted(pending)).map(|(path, _)| path.clone()).collect()
            };
            let needs_content = |p: &PendingWrite| p.lacks_content() && p.content == ContentState::Missing;
            let may_wait = |group: u64| group != 2;
            let lacks = |group| writes.iter().any(|(_, p)| p.origin.group == Some(group) && p.lacks_content());
            let waits = |p: &PendingWrite| p.origin.group.is_some_and(|group| may_wait(group) && lacks(group));
            let ready = |p: &PendingWrite| !p.lacks_content() && p.not_before <= now && !waits(p);
            let found: BTreeSet<_> = writes.needs_content(now, usize::MAX).into_iter().collect();
            assert_eq!(found, paths(&|p| needs_content(p) && p.not_before <= now), "step {step}");
            let found: BTreeSet<_> = writes.ready(now, may_wait, usize::MAX).into_iter().collect();
            assert_eq!(found, paths(&ready), "step {step}");
            let times =
                writes.iter().filter(|(_, p)| needs_content(p) || !p.lacks_content()).map(|(_, p)| p.not_before);
            assert_eq!(writes.next_after(now), times.filter(|at| *at > now).min(), "step {step}");
            assert_eq!(writes.has_failures(), !paths(&|p| p.failure.is_some()).is_empty(), "step {step}");
            let bytes: usize = writes.iter().map(|(_, p)| p.content.bytes()).sum();
            assert_eq!(writes.bytes, bytes, "step {step}");
        }
    }
}
