//! Which paths the agent has written, across its own restarts.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use sync_core::ProjectPath;

use crate::sync::state::create_private;

/// The owned paths, and the journal that they are recorded in: before the rename that makes them, after the delete.
#[derive(Debug, Default)]
pub(super) struct Owned {
    paths: BTreeSet<ProjectPath>,
    journal: Option<File>,
}

impl Owned {
    /// Opens the journal in `state_dir`, with what an agent of the same project recorded there.
    pub(super) fn open(state_dir: &Path, project_id: &str) -> io::Result<Owned> {
        let file = state_dir.join("owned");
        let paths = match fs::read_to_string(&file) {
            Ok(text) => read(&text, project_id),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                BTreeSet::new()
            }
            Err(error) => return Err(error),
        };
        // Written anew, so that it does not grow from start to start.
        let next = state_dir.join("owned.next");
        let mut lines = format!("{project_id}\n");
        paths.iter().for_each(|path| lines.push_str(&line('+', path)));
        create_private(&next)?.write_all(lines.as_bytes())?;
        fs::rename(&next, &file)?;
        Ok(Owned { paths, journal: Some(OpenOptions::new().append(true).open(&file)?) })
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &ProjectPath> {
        self.paths.iter()
    }

    /// To be called before these paths are made.
    pub(super) fn add<'a>(&mut self, paths: impl IntoIterator<Item = &'a ProjectPath>) -> io::Result<()> {
        let new: Vec<_> = paths.into_iter().filter(|path| !self.paths.contains(path)).cloned().collect();
        self.write('+', &new)?;
        self.paths.extend(new);
        Ok(())
    }

    /// To be called once these paths are gone.
    pub(super) fn remove<'a>(&mut self, paths: impl IntoIterator<Item = &'a ProjectPath>) -> io::Result<()> {
        let gone: Vec<_> = paths.into_iter().filter_map(|path| self.paths.take(path)).collect();
        self.write('-', &gone)
    }

    /// One write for all, none for nothing.
    fn write(&mut self, sign: char, paths: &[ProjectPath]) -> io::Result<()> {
        let Some(journal) = self.journal.as_mut().filter(|_| !paths.is_empty()) else { return Ok(()) };
        let lines: String = paths.iter().map(|path| line(sign, path)).collect();
        journal.write_all(lines.as_bytes())
    }
}

/// A path holds no control character, so that it fits a line.
fn line(sign: char, path: &ProjectPath) -> String {
    format!("{sign}{path}\n")
}

fn read(text: &str, project_id: &str) -> BTreeSet<ProjectPath> {
    let mut paths = BTreeSet::new();
    let mut lines = text.split_inclusive('\n');
    if lines.next() != Some(&format!("{project_id}\n")) {
        return paths;
    }
    // A line without its end was cut by a crash: its rename never happened.
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

    fn listed(owned: &Owned) -> Vec<String> {
        owned.paths().map(ProjectPath::to_string).collect()
    }

    #[test]
    fn remembers_across_restarts() {
        let temp = tempfile::tempdir().unwrap();
        let mut owned = Owned::open(temp.path(), "p").unwrap();
        owned.add([&path("a"), &path("b/c"), &path("ü d")]).unwrap();
        owned.add([&path("a")]).unwrap();
        owned.remove([&path("b/c"), &path("never")]).unwrap();
        let again = Owned::open(temp.path(), "p").unwrap();
        assert_eq!(listed(&again), ["a", "ü d"]);
        assert_eq!(listed(&Owned::open(temp.path(), "another").unwrap()), [""; 0]);
    }

    #[test]
    fn a_line_cut_by_a_crash_is_not_there() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("owned"), "p\n+a\n+src/half").unwrap();
        assert_eq!(listed(&Owned::open(temp.path(), "p").unwrap()), ["a"]);
    }
}
