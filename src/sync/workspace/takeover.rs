//! Moves an extracted snapshot into the project's directory.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;
use sync_core::ProjectPath;

use super::hashing::{self, Cancel};
use super::parents::Missing;
use super::{Workspace, WorkspaceError, parents};
use crate::sync::files::{ExtractedFile, FileStamp};

/// The directory of the stage that a snapshot is extracted into.
pub(super) const EXTRACTED: &str = "hydrate";

/// What was done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Takeover {
    /// Files that were moved into the project.
    pub placed: usize,
    /// Files that were in the project already, with the same content.
    pub kept: usize,
    /// Other files of the project that were quarantined.
    pub quarantined: usize,
}

/// A rename that can be undone.
enum Moved {
    Placed(ProjectPath),
    Quarantined(ProjectPath),
    /// A top-level entry with everything below it.
    Tree(String),
}

/// The path that could not be moved, and why.
struct MoveError {
    path: String,
    source: io::Error,
}

impl MoveError {
    fn at(path: impl ToString) -> impl FnOnce(io::Error) -> MoveError {
        let path = path.to_string();
        move |source| MoveError { path, source }
    }
}

struct Mover<'a> {
    workspace: &'a mut Workspace,
    extracted: OwnedFd,
    done: Vec<Moved>,
    /// Top-level entries that were moved with everything below them.
    trees: BTreeSet<String>,
}

impl Workspace {
    /// Moves an extracted and verified snapshot into the project. Other files there are quarantined, never deleted; what
    /// the dev server or the package manager made is not touched.
    ///
    /// # Errors
    /// The first file that could not be moved. Everything moved until then is moved back.
    pub fn take_over(&mut self, files: &[ExtractedFile]) -> Result<Takeover, WorkspaceError> {
        let recorded = self.owned.add(files.iter().map(|file| &file.path));
        recorded.map_err(WorkspaceError::new("record the files of the snapshot for", &self.dir))?;
        let extracted = self.stage.open_dir(EXTRACTED).map_err(io::Error::from);
        let extracted = extracted.map_err(WorkspaceError::new("open the extracted files for", &self.dir))?;
        let mut mover = Mover { workspace: &mut *self, extracted, done: Vec::new(), trees: BTreeSet::new() };
        let (takeover, trees) = match mover.run(files) {
            Ok(takeover) => (takeover, mover.trees),
            Err(MoveError { path, source }) => {
                mover.undo();
                return Err(WorkspaceError::new("move the snapshot to", self.dir.join(path))(source));
            }
        };
        // Only empty directories are left. If they cannot be removed, they are removed when the stage is next opened.
        let _ = self.stage.remove_dir(EXTRACTED);
        for file in files {
            // The rename of a directory does not change the stamps of the files in it; the rename of a file does.
            let moved_inside = file.path.parent().is_some() && is_in(&trees, &file.path);
            let stamp = file.stamp.filter(|_| moved_inside).unwrap_or_else(|| {
                let stat = rustix::fs::statat(self.root.as_fd(), file.path.as_str(), AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(FileStamp::UNKNOWN, |stat| FileStamp::of(&stat))
            });
            self.stamps.put(file.path.clone(), stamp, file.hash);
        }
        Ok(takeover)
    }
}

impl Mover<'_> {
    fn run(&mut self, files: &[ExtractedFile]) -> Result<Takeover, MoveError> {
        let mut takeover = Takeover::default();
        let present = self.workspace.files_present().map_err(MoveError::at(""))?;
        let wanted: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
        for path in &present {
            if !wanted.contains(path) {
                self.quarantine(path).map_err(MoveError::at(path))?;
                takeover.quarantined = takeover.quarantined.saturating_add(1);
            }
        }
        self.place_trees()?;
        for file in files {
            if is_in(&self.trees, &file.path) {
                takeover.placed = takeover.placed.saturating_add(1);
            } else {
                let is_present = present.contains(&file.path);
                self.place(file, is_present, &mut takeover).map_err(MoveError::at(&file.path))?;
            }
        }
        Ok(takeover)
    }

    /// Moves each top-level entry of the snapshot that the project does not have, with everything below it, in one rename:
    /// a snapshot is moved into an empty project in a few renames, however many files it has.
    fn place_trees(&mut self) -> Result<(), MoveError> {
        let entries = Dir::read_from(&self.extracted).map_err(|error| MoveError::at("")(error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| MoveError::at("")(error.into()))?;
            // A name that is not UTF-8 is not the snapshot's.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let root = &self.workspace.root;
            // An existing entry is merged file by file.
            if let Err(Errno::NOENT) = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
                let moved = rustix::fs::renameat(&self.extracted, name, root, name);
                moved.map_err(|error| MoveError::at(name)(error.into()))?;
                self.done.push(Moved::Tree(name.to_owned()));
                self.trees.insert(name.to_owned());
            }
        }
        Ok(())
    }

    fn place(&mut self, file: &ExtractedFile, is_present: bool, takeover: &mut Takeover) -> io::Result<()> {
        if is_present {
            if self.has_content(file)? {
                takeover.kept = takeover.kept.saturating_add(1);
                return Ok(());
            }
            self.quarantine(&file.path)?;
            takeover.quarantined = takeover.quarantined.saturating_add(1);
        }
        self.rename(&file.path)?;
        takeover.placed = takeover.placed.saturating_add(1);
        self.done.push(Moved::Placed(file.path.clone()));
        Ok(())
    }

    fn rename(&self, path: &ProjectPath) -> Result<(), Errno> {
        let missing = Missing::Create(self.workspace.user.as_ref());
        let to = parents::open_parent(self.workspace.root.as_fd(), path, missing)?;
        let from = parents::open_parent(self.extracted.as_fd(), path, Missing::Fail)?;
        rustix::fs::renameat(from, path.file_name(), to, path.file_name())
    }

    /// Whether the file in the project has the same content already. The sizes are compared first.
    fn has_content(&self, file: &ExtractedFile) -> Result<bool, Errno> {
        let (mut present, stat) = match self.workspace.open_file(&file.path) {
            // A link or a pipe.
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(false),
            opened => opened?,
        };
        Ok(u64::try_from(stat.st_size) == Ok(file.size)
            && hashing::hash_file(&mut present, &Cancel::default()).is_ok_and(|hash| hash == Some(file.hash)))
    }

    fn quarantine(&mut self, path: &ProjectPath) -> io::Result<()> {
        self.workspace.quarantine(path)?;
        self.done.push(Moved::Quarantined(path.clone()));
        Ok(())
    }

    /// Undoes the renames, the last one first. A file whose rename cannot be undone stays where it is.
    fn undo(&mut self) {
        let root = self.workspace.root.as_fd();
        for moved in std::mem::take(&mut self.done).into_iter().rev() {
            // The first error is the one that is reported; an undo that fails leaves the file where it is.
            match moved {
                Moved::Tree(name) => {
                    let _ = rustix::fs::renameat(root, &name, &self.extracted, &name);
                }
                Moved::Placed(path) => {
                    let Ok(parent) = parents::open_parent(root, &path, Missing::Fail) else { continue };
                    let _ = rustix::fs::unlinkat(&parent, path.file_name(), AtFlags::empty());
                    parents::remove_empty_parents(root, &path);
                }
                Moved::Quarantined(path) => {
                    let _ = self.workspace.restore_quarantined(&path);
                }
            }
        }
    }
}

fn is_in(trees: &BTreeSet<String>, path: &ProjectPath) -> bool {
    path.as_str().split('/').next().is_some_and(|top| trees.contains(top))
}
