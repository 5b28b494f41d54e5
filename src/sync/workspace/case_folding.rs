//! Disks that take two names differing only in case for the same.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{Op, ProjectPath};

use super::Workspace;

impl Workspace {
    /// Operations of a batch that would reach another path's file: on a disk that folds case, all but the first of the
    /// paths that fold to one, until that one is deleted.
    pub(super) fn clashes(&self, ops: &[Op]) -> BTreeSet<ProjectPath> {
        let mut clashes = BTreeSet::new();
        if !self.folds_case {
            return clashes;
        }
        let mut standing: BTreeMap<String, &ProjectPath> =
            self.stamps.present().map(|path| (folded(path), path)).collect();
        for op in ops {
            let name = folded(op.path());
            match (standing.get(&name), op) {
                (Some(other), _) if *other != op.path() => drop(clashes.insert(op.path().clone())),
                (_, Op::Write { path, .. }) => drop(standing.insert(name, path)),
                (_, Op::Delete { .. }) => drop(standing.remove(&name)),
            }
        }
        clashes
    }
}

fn folded(path: &ProjectPath) -> String {
    path.as_str().to_lowercase()
}
