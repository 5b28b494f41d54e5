//! Disks on which two names that differ only in case are equal.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{Op, ProjectPath};

use super::Workspace;

impl Workspace {
    /// Paths of a batch that would reach another path's file: on a disk that folds case, all but the first of the paths
    /// that are equal to it, until that one is deleted.
    pub(super) fn case_conflicts(&self, ops: &[Op]) -> BTreeSet<ProjectPath> {
        let mut conflicts = BTreeSet::new();
        if !self.folds_case {
            return conflicts;
        }
        let mut present: BTreeMap<String, &ProjectPath> =
            self.stamps.present().map(|path| (folded(path), path)).collect();
        for op in ops {
            let name = folded(op.path());
            match (present.get(&name), op) {
                (Some(other), _) if *other != op.path() => drop(conflicts.insert(op.path().clone())),
                (_, Op::Write { path, .. }) => drop(present.insert(name, path)),
                (_, Op::Delete { .. }) => drop(present.remove(&name)),
            }
        }
        conflicts
    }
}

fn folded(path: &ProjectPath) -> String {
    path.as_str().to_lowercase()
}
