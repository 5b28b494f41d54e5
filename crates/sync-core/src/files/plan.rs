use std::collections::BTreeSet;

use super::rules::FileRole;
use crate::{Op, ProjectPath};

/// Puts the operations of one batch in the order that a bundler likes: new files, updates, configuration files, deletes.
/// An import that is written before its file exists costs an error and a full reload.
///
/// Deletes go first where they make room: where a written path, without regard to case, is the deleted one, lies below
/// it or above it.
pub(crate) fn order(ops: &mut [Op], exists: impl Fn(&ProjectPath) -> bool) {
    let written = WrittenPaths::of(ops);
    ops.sort_by_cached_key(|op| match op {
        Op::Delete { path, .. } if written.needs_room_of(path) => 0,
        Op::Write { path, .. } if is_configuration(path) => 3,
        Op::Write { path, .. } if exists(path) => 2,
        Op::Write { .. } => 1,
        Op::Delete { .. } => 4,
    });
}

/// Files whose change restarts the dev server: written after the files that they refer to.
fn is_configuration(path: &ProjectPath) -> bool {
    matches!(
        FileRole::of_name(path.file_name()),
        FileRole::PackageManifest | FileRole::ViteConfig | FileRole::Environment | FileRole::TypeScriptConfig
    )
}

/// The paths that a batch writes and the directories above them, case folded.
struct WrittenPaths {
    files: BTreeSet<String>,
    directories: BTreeSet<String>,
}

impl WrittenPaths {
    fn of(ops: &[Op]) -> WrittenPaths {
        let mut written = WrittenPaths { files: BTreeSet::new(), directories: BTreeSet::new() };
        if !ops.iter().any(|op| matches!(op, Op::Delete { .. })) {
            return written;
        }
        for op in ops {
            if let Op::Write { path, .. } = op {
                let path = path.as_str().to_lowercase();
                written.directories.extend(directories_of(&path).map(str::to_owned));
                written.files.insert(path);
            }
        }
        written
    }

    fn needs_room_of(&self, deleted: &ProjectPath) -> bool {
        let deleted = deleted.as_str().to_lowercase();
        self.files.contains(&deleted)
            || self.directories.contains(&deleted)
            || directories_of(&deleted).any(|directory| self.files.contains(directory))
    }
}

fn directories_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, ContentHash};

    fn write(path: &str) -> Op {
        let path = ProjectPath::parse(path).unwrap();
        let content = Content::Bytes(bytes::Bytes::new());
        Op::Write { path, content, hash: ContentHash::of(b""), version: None, revision: None }
    }

    fn delete(path: &str) -> Op {
        Op::Delete { path: ProjectPath::parse(path).unwrap(), version: None, revision: None }
    }

    fn ordered(mut ops: Vec<Op>) -> Vec<String> {
        order(&mut ops, |path| path.as_str().starts_with("old"));
        ops.iter().map(|op| op.path().to_string()).collect()
    }

    #[test]
    fn new_files_come_first_and_deletes_last() {
        let ops = [
            delete("gone"),
            write(".env.local"),
            write("vite.config.ts"),
            write("old/a"),
            write("new"),
            write("a/package.json"),
        ];
        assert_eq!(ordered(ops.to_vec()), ["new", "old/a", ".env.local", "vite.config.ts", "a/package.json", "gone"]);
    }

    #[test]
    fn a_delete_that_makes_room_comes_first() {
        assert_eq!(ordered(vec![write("a/b"), delete("z"), delete("A")]), ["A", "a/b", "z"]);
        assert_eq!(ordered(vec![write("a"), delete("a/b/c")]), ["a/b/c", "a"]);
        assert_eq!(ordered(vec![write("readme.md"), delete("README.md")]), ["README.md", "readme.md"]);
    }
}
