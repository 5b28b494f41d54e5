//! Which paths the agent has written, across its restarts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use sync_core::ProjectPath;

use crate::sync::private_dir::PrivateDir;

const JOURNAL: &str = "owned";
const NEXT_JOURNAL: &str = "owned.next";
/// The largest journal that is read, in bytes: 100,000 paths of 1,024 bytes, and their changes.
const MAX_JOURNAL: u64 = 256 << 20;

/// The owned paths, and their journal: a path is recorded before the rename that creates its file, and removed after the
/// delete.
#[derive(Debug, Default)]
pub(super) struct OwnedPaths {
    paths: BTreeSet<ProjectPath>,
    journal: Option<File>,
}

impl OwnedPaths {
    /// Opens the journal in `state_dir`, with the paths that an earlier agent of this project recorded. A journal that is
    /// another project's or that is not readable text is replaced by an empty one.
    ///
    /// # Errors
    /// What the disk returns.
    pub(super) fn open(state_dir: &PrivateDir, project_id: &str) -> io::Result<OwnedPaths> {
        let paths = match state_dir.open_file(JOURNAL) {
            Ok(Some(file)) => match read_text(file) {
                Ok(text) => read_journal(&text, project_id),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => BTreeSet::new(),
                Err(error) => return Err(error),
            },
            // What is not the agent's own file is replaced by the rename below.
            Ok(None) | Err(_) => BTreeSet::new(),
        };
        // Written again without the history, so that it does not grow at each start.
        let mut journal = state_dir.create_temporary(NEXT_JOURNAL)?;
        let mut lines = format!("{project_id}\n");
        paths.iter().for_each(|path| lines.push_str(&line('+', path)));
        journal.write_all(lines.as_bytes())?;
        state_dir.rename(NEXT_JOURNAL, JOURNAL)?;
        Ok(OwnedPaths { paths, journal: Some(journal) })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ProjectPath> {
        self.paths.iter()
    }

    /// Records paths. To be called before their files are created.
    pub(super) fn add<'a>(&mut self, paths: impl IntoIterator<Item = &'a ProjectPath>) -> io::Result<()> {
        let new: Vec<_> = paths.into_iter().filter(|path| !self.paths.contains(path)).cloned().collect();
        self.append('+', &new)?;
        self.paths.extend(new);
        Ok(())
    }

    /// Removes paths. To be called after their files are deleted.
    pub(super) fn remove<'a>(&mut self, paths: impl IntoIterator<Item = &'a ProjectPath>) -> io::Result<()> {
        let gone: Vec<_> = paths.into_iter().filter_map(|path| self.paths.take(path)).collect();
        self.append('-', &gone)
    }

    /// One write for all paths, none for no paths.
    fn append(&mut self, sign: char, paths: &[ProjectPath]) -> io::Result<()> {
        let Some(journal) = self.journal.as_mut().filter(|_| !paths.is_empty()) else { return Ok(()) };
        let lines: String = paths.iter().map(|path| line(sign, path)).collect();
        journal.write_all(lines.as_bytes())
    }
}

/// A line of the journal. A path has no control character, so it is one line.
fn line(sign: char, path: &ProjectPath) -> String {
    format!("{sign}{path}\n")
}

fn read_text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_JOURNAL).read_to_string(&mut text)?;
    Ok(text)
}

fn read_journal(text: &str, project_id: &str) -> BTreeSet<ProjectPath> {
    let mut paths = BTreeSet::new();
    let mut lines = text.split_inclusive('\n');
    if lines.next() != Some(&format!("{project_id}\n")) {
        return paths;
    }
    // A line without its end was cut by a crash. Its rename did not happen.
    for line in lines.filter_map(|line| line.strip_suffix('\n')) {
        match (line.get(..1), line.get(1..).map(ProjectPath::parse)) {
            (Some("+"), Some(Ok(path))) => drop(paths.insert(path)),
            (Some("-"), Some(Ok(path))) => drop(paths.remove(&path)),
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ProjectPath {
        ProjectPath::parse(text).unwrap()
    }

    fn listed(owned: &OwnedPaths) -> Vec<String> {
        owned.iter().map(ProjectPath::to_string).collect()
    }

    fn state_dir(temp: &tempfile::TempDir) -> PrivateDir {
        PrivateDir::open_path(temp.path()).unwrap()
    }

    #[test]
    fn paths_are_kept_across_restarts() {
        let temp = tempfile::tempdir().unwrap();
        let dir = state_dir(&temp);
        let mut owned = OwnedPaths::open(&dir, "p").unwrap();
        owned.add([&path("a"), &path("b/c"), &path("ü d")]).unwrap();
        owned.add([&path("a")]).unwrap();
        owned.remove([&path("b/c"), &path("never")]).unwrap();
        let mut again = OwnedPaths::open(&dir, "p").unwrap();
        assert_eq!(listed(&again), ["a", "ü d"]);
        again.add([&path("later")]).unwrap();
        assert_eq!(listed(&OwnedPaths::open(&dir, "p").unwrap()), ["a", "later", "ü d"]);
        assert_eq!(listed(&OwnedPaths::open(&dir, "another").unwrap()), [""; 0]);
    }

    #[test]
    fn a_line_cut_by_a_crash_is_ignored() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(JOURNAL), "p\n+a\n+src/half").unwrap();
        assert_eq!(listed(&OwnedPaths::open(&state_dir(&temp), "p").unwrap()), ["a"]);
    }

    #[test]
    fn links_in_place_of_the_journal_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (victim, dir) = (temp.path().join("victim"), temp.path().join("state"));
        std::fs::write(&victim, "p\n+a\n").unwrap();
        let state_dir = PrivateDir::open_path(&dir).unwrap();
        for name in [JOURNAL, NEXT_JOURNAL] {
            std::os::unix::fs::symlink(&victim, dir.join(name)).unwrap();
        }
        let mut owned = OwnedPaths::open(&state_dir, "p").unwrap();
        assert_eq!(listed(&owned), [""; 0]);
        owned.add([&path("b")]).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "p\n+a\n");
    }
}
