use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::{Timer, TimerReason};
use crate::{ContentHash, LocalChangePolicy, ProjectPath, Time};

/// The time between two restores of one path, doubled with each up to the cap: a generator that writes its file again
/// and again must not keep the database busy.
const RESTORE_BASE: Duration = Duration::from_secs(1);
const RESTORE_CAP: Duration = Duration::from_secs(60);
/// A path that was not changed again for so long after its wait is restored at once the next time.
const RESTORE_RESET_AFTER: Duration = Duration::from_secs(300);

/// The present content of an owned file that something other than the agent touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// The file's path.
    pub path: ProjectPath,
    /// The hash of its content; `None`: the file does not exist any more.
    pub hash: Option<ContentHash>,
}

/// Every local change that is known. There are at most as many as owned files.
#[derive(Debug)]
pub(crate) struct LocalChanges {
    policy: LocalChangePolicy,
    changes: BTreeMap<ProjectPath, KnownChange>,
    restores: BTreeMap<ProjectPath, LastRestore>,
}

#[derive(Debug)]
struct KnownChange {
    hash: Option<ContentHash>,
    /// When it is to be put back.
    due: Option<Time>,
}

#[derive(Debug)]
struct LastRestore {
    at: Time,
    /// The wait before the next one.
    wait: Duration,
}

impl LocalChanges {
    pub fn new(policy: LocalChangePolicy) -> LocalChanges {
        LocalChanges { policy, changes: BTreeMap::new(), restores: BTreeMap::new() }
    }

    /// Whether changes are kept or put back.
    pub fn policy(&self) -> LocalChangePolicy {
        self.policy
    }

    /// Records a change; true if it is the first of its path.
    pub fn record(&mut self, now: Time, path: ProjectPath, hash: Option<ContentHash>) -> bool {
        let due = (self.policy == LocalChangePolicy::Restore).then(|| self.due(now, &path));
        self.changes.insert(path, KnownChange { hash, due }).is_none()
    }

    /// Removes the change of `path`; true if there was one.
    pub fn remove(&mut self, path: &ProjectPath) -> bool {
        self.changes.remove(path).is_some()
    }

    pub fn contains(&self, path: &ProjectPath) -> bool {
        self.changes.contains_key(path)
    }

    /// Removes and returns the paths that are to be put back now.
    pub fn take_due(&mut self, now: Time) -> Vec<ProjectPath> {
        let is_due = |_: &ProjectPath, change: &mut KnownChange| change.due.is_some_and(|due| due <= now);
        let paths: Vec<_> = self.changes.extract_if(.., is_due).map(|(path, _)| path).collect();
        self.restores.retain(|_, last| last.at.after(last.wait).after(RESTORE_RESET_AFTER) > now);
        for path in &paths {
            let before = self.restores.get(path).map(|last| last.wait.saturating_mul(2));
            let wait = before.unwrap_or(RESTORE_BASE).min(RESTORE_CAP);
            self.restores.insert(path.clone(), LastRestore { at: now, wait });
        }
        paths
    }

    pub fn deadline(&self) -> Option<Timer> {
        let first = self.changes.values().filter_map(|change| change.due).min();
        first.map(|at| TimerReason::RestoreLocalChange.at(at))
    }

    pub fn iter(&self) -> impl Iterator<Item = LocalChange> {
        self.changes.iter().map(|(path, change)| LocalChange { path: path.clone(), hash: change.hash })
    }

    fn due(&self, now: Time, path: &ProjectPath) -> Time {
        self.restores.get(path).map_or(now, |last| last.at.after(last.wait).max(now))
    }
}
