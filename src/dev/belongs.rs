use crate::snapshot::walk;

/// Whether `path` is part of the project, by the rule that snapshots follow. What stands there may be gone, so that
/// nobody knows whether it is a directory: it is taken for one, and no file called `dist` is followed.
pub fn belongs(path: &str) -> bool {
    walk::belongs(path, true)
}
