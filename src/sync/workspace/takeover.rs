//! From an extracted snapshot to the project's directory.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use cap_std::fs::Dir;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use sync_core::ProjectPath;

use super::parents::Missing;
use super::{Workspace, WorkspaceError, apply, parents};
use crate::sync::files::{ExtractedFile, FileStamp};

/// The stage's directory that a snapshot is extracted into.
pub(super) const HYDRATE: &str = "hydrate";

/// What became of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Takeover {
    /// Moved into the project.
    pub placed: usize,
    /// Stood there already, the same to the byte.
    pub kept: usize,
    /// Foreign or differing files that were put aside.
    pub quarantined: usize,
}

/// One rename that can be taken back.
enum Moved {
    Placed(ProjectPath),
    Aside(ProjectPath),
    /// Everything below a name at the top.
    Tree(String),
}

struct Mover<'a> {
    workspace: &'a mut Workspace,
    hydrate: Dir,
    done: Vec<Moved>,
    /// Names at the top that were moved with all that is in them.
    whole: BTreeSet<String>,
}

pub(super) fn take_over(workspace: &mut Workspace, files: &[ExtractedFile]) -> Result<Takeover, WorkspaceError> {
    workspace
        .owned
        .add(files.iter().map(|file| &file.path))
        .map_err(WorkspaceError::new("record as written what comes into", &workspace.dir))?;
    let hydrate = workspace.stage.open_dir(HYDRATE);
    let hydrate = hydrate.map_err(WorkspaceError::new("open what was extracted for", &workspace.dir))?;
    let mut mover = Mover { workspace: &mut *workspace, hydrate, done: Vec::new(), whole: BTreeSet::new() };
    let (takeover, whole) = match mover.run(files) {
        Ok(takeover) => (takeover, mover.whole),
        Err((path, error)) => {
            mover.take_back();
            return Err(WorkspaceError::new("move the snapshot into", workspace.dir.join(path))(error));
        }
    };
    // It holds empty directories by now; if they cannot go, they go when the stage is next opened.
    let _ = workspace.stage.remove_dir(HYDRATE);
    for file in files {
        // The rename of a directory leaves the files in it as they were; that of a file is a change of it.
        let is_below = file.path.parent().is_some() && is_in(&whole, &file.path);
        let stamp = file.stamp.filter(|_| is_below).unwrap_or_else(|| {
            let stat = rustix::fs::statat(workspace.root.as_fd(), file.path.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            stat.map_or(FileStamp::UNKNOWN, |stat| FileStamp::of(&stat))
        });
        workspace.stamps.put(file.path.clone(), stamp, file.hash);
    }
    Ok(takeover)
}

impl Mover<'_> {
    fn run(&mut self, files: &[ExtractedFile]) -> Result<Takeover, (String, io::Error)> {
        let mut takeover = Takeover::default();
        let standing = self.workspace.all_standing().map_err(|error| (String::new(), error))?;
        let wanted: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
        for path in &standing {
            if !wanted.contains(path) {
                self.quarantine(path).map_err(|error| (path.to_string(), error))?;
                takeover.quarantined += 1;
            }
        }
        self.place_whole_trees()?;
        for file in files {
            if is_in(&self.whole, &file.path) {
                takeover.placed += 1;
                continue;
            }
            let placed = self.place(file, standing.contains(&file.path), &mut takeover);
            placed.map_err(|error| (file.path.to_string(), error))?;
        }
        Ok(takeover)
    }

    /// Moves what stands at the top of the snapshot and not in the project, each in one rename, with all that is in it:
    /// into an empty project a snapshot goes in a few renames, however many files it has.
    fn place_whole_trees(&mut self) -> Result<(), (String, io::Error)> {
        let failed = |error| (String::new(), error);
        for entry in self.hydrate.entries().map_err(failed)? {
            // A name that is no UTF-8 is not of the snapshot's.
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            match rustix::fs::statat(&self.workspace.root, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {
                    let moved = rustix::fs::renameat(&self.hydrate, &name, &self.workspace.root, &name);
                    moved.map_err(|error| (name.clone(), error.into()))?;
                    self.done.push(Moved::Tree(name.clone()));
                    self.whole.insert(name);
                }
                // What stands in the way is seen to file by file.
                _ => continue,
            }
        }
        Ok(())
    }

    fn place(&mut self, file: &ExtractedFile, stands: bool, takeover: &mut Takeover) -> io::Result<()> {
        if stands {
            if self.same(file)? {
                takeover.kept += 1;
                return Ok(());
            }
            self.quarantine(&file.path)?;
            takeover.quarantined += 1;
        }
        self.rename(&file.path)?;
        takeover.placed += 1;
        self.done.push(Moved::Placed(file.path.clone()));
        Ok(())
    }

    fn rename(&self, path: &ProjectPath) -> Result<(), Errno> {
        let parent = parents::parent(self.workspace.root.as_fd(), path, Missing::IsMade(self.workspace.user.as_ref()))?;
        rustix::fs::renameat(&self.hydrate, path.as_str(), parent, path.file_name())
    }

    fn same(&self, file: &ExtractedFile) -> Result<bool, Errno> {
        let (mut standing, stat) = match self.workspace.open_file(&file.path) {
            // A symlink, a pipe: something that differs.
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(false),
            other => other?,
        };
        Ok(stat.st_size as u64 == file.size && apply::hash_of(&mut standing).is_ok_and(|hash| hash == file.hash))
    }

    fn quarantine(&mut self, path: &ProjectPath) -> io::Result<()> {
        self.workspace.quarantine(path)?;
        self.done.push(Moved::Aside(path.clone()));
        Ok(())
    }

    /// Undoes what was done, last first. What cannot be undone stays where it is: there is no better place for it.
    fn take_back(&mut self) {
        let root = self.workspace.root.as_fd();
        for moved in std::mem::take(&mut self.done).into_iter().rev() {
            match moved {
                Moved::Tree(name) => {
                    let _ = rustix::fs::renameat(root, &name, &self.hydrate, &name);
                }
                Moved::Placed(path) => {
                    let Ok(parent) = parents::parent(root, &path, Missing::Fails) else { continue };
                    let _ = rustix::fs::unlinkat(&parent, path.file_name(), AtFlags::empty());
                    parents::prune(root, &path);
                }
                Moved::Aside(path) => {
                    let _ = self.workspace.restore_quarantined(&path);
                }
            }
        }
    }
}

fn is_in(whole: &BTreeSet<String>, path: &ProjectPath) -> bool {
    path.as_str().split('/').next().is_some_and(|top| whole.contains(top))
}
