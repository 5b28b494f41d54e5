use std::collections::BTreeMap;
use std::time::Duration;

use crate::cx::earliest;
use crate::{ContentHash, ProjectPath, Time};

/// Between two restores of one path, doubled each time up to the cap: a generator that writes its file again and again
/// must not keep the database busy.
const RESTORE_BASE: Duration = Duration::from_secs(1);
const RESTORE_CAP: Duration = Duration::from_secs(60);
/// A path that stood for so long after its restore is restored at once again.
const FORGIVEN: Duration = Duration::from_secs(300);

/// An owned file that the project's own code, or a person, changed: what lies there is not what its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// Where.
    pub path: ProjectPath,
    /// What lies there, none where there is no file any more.
    pub hash: Option<ContentHash>,
}

/// Every local change that is known. Its number is bounded by that of the owned files.
#[derive(Debug, Default)]
pub(crate) struct LocalChanges {
    /// They are put back.
    restore: bool,
    changes: BTreeMap<ProjectPath, Known>,
    restored: BTreeMap<ProjectPath, Restored>,
}

#[derive(Debug)]
struct Known {
    hash: Option<ContentHash>,
    /// When it is to be put back.
    due: Option<Time>,
}

/// The last restore of a path.
#[derive(Debug)]
struct Restored {
    at: Time,
    wait: Duration,
}

impl LocalChanges {
    pub fn new(restore: bool) -> LocalChanges {
        LocalChanges { restore, ..LocalChanges::default() }
    }

    /// Whether changes are put back.
    pub fn restores(&self) -> bool {
        self.restore
    }

    /// Takes in a change; true if it is the first of its path.
    pub fn found(&mut self, now: Time, path: ProjectPath, hash: Option<ContentHash>) -> bool {
        let due = self.restore.then(|| self.due(now, &path));
        self.changes.insert(path, Known { hash, due }).is_none()
    }

    /// The path is no local change any more; true if it was one.
    pub fn settle(&mut self, path: &ProjectPath) -> bool {
        self.changes.remove(path).is_some()
    }

    pub fn contains(&self, path: &ProjectPath) -> bool {
        self.changes.contains_key(path)
    }

    /// Paths that are to be put back now; they are no local changes from here on.
    pub fn take_due(&mut self, now: Time) -> Vec<ProjectPath> {
        let due = |_: &ProjectPath, known: &mut Known| known.due.is_some_and(|due| due <= now);
        let paths: Vec<_> = self.changes.extract_if(.., due).map(|(path, _)| path).collect();
        self.restored.retain(|_, restored| restored.at.after(restored.wait + FORGIVEN) > now);
        for path in &paths {
            let before = self.restored.get(path).map(|restored| restored.wait * 2);
            let wait = before.unwrap_or(RESTORE_BASE).min(RESTORE_CAP);
            self.restored.insert(path.clone(), Restored { at: now, wait });
        }
        paths
    }

    pub fn deadline(&self) -> Option<Time> {
        earliest(self.changes.values().map(|known| known.due))
    }

    pub fn iter(&self) -> impl Iterator<Item = LocalChange> {
        self.changes.iter().map(|(path, known)| LocalChange { path: path.clone(), hash: known.hash })
    }

    fn due(&self, now: Time, path: &ProjectPath) -> Time {
        self.restored.get(path).map_or(now, |restored| restored.at.after(restored.wait).max(now))
    }
}
