//! Moves files that are not the database's out of the project. They are never deleted.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::FileType;
use supervisor::tree_walk::{self, Descent, Entry, Visitor};
use sync_core::{MAX_PARTS, ProjectPath};

use super::parents::{self, Missing};
use super::{Replaced, Workspace, WorkspaceError, stage};
use crate::sync::folder::{EntryType, is_project_file};
use crate::sync::private_dir::PrivateDir;

/// The quarantine in the state directory. The name is the contract's.
const BESIDE: &str = "found";
/// The quarantine in the project's `node_modules`, where a rename to the state directory fails.
const INSIDE: &str = ".preview-found";
/// The mode of the quarantine and of the directory of one start.
const MODE: u32 = 0o755;

impl Workspace {
    /// From now on a file that the agent did not write is quarantined before another one replaces it: for a first state
    /// that is read file by file. [`Workspace::quarantine_all_except`] ends this.
    pub fn quarantine_replaced_files(&mut self) {
        self.replaced = Replaced::Quarantine;
    }

    /// Quarantines every file that could be the database's and is not in `wanted`. Returns how many.
    ///
    /// # Errors
    /// The first file that could not be moved. The files before it are in the quarantine.
    pub fn quarantine_all_except(&mut self, wanted: &BTreeSet<ProjectPath>) -> Result<usize, WorkspaceError> {
        self.replaced = Replaced::Overwrite;
        let present = self.files_present().map_err(WorkspaceError::new("list the files of", &self.dir))?;
        let foreign: Vec<_> = present.into_iter().filter(|path| !wanted.contains(path)).collect();
        for path in &foreign {
            self.quarantine(path).map_err(WorkspaceError::new("quarantine", self.dir.join(path.as_str())))?;
            self.stamps.forget(path);
        }
        let recorded = self.owned.remove(&foreign);
        recorded.map_err(WorkspaceError::new("record the quarantined files of", &self.dir))?;
        Ok(foreign.len())
    }

    /// The files and links in the project that could be the database's. Links are not followed.
    pub(super) fn files_present(&self) -> io::Result<BTreeSet<ProjectPath>> {
        let mut listing = Listing { files: BTreeSet::new() };
        tree_walk::walk(&self.root, &mut listing)?;
        Ok(listing.files)
    }

    /// Moves a file to the quarantine of this start.
    pub(super) fn quarantine(&mut self, path: &ProjectPath) -> io::Result<()> {
        let quarantine = match self.quarantine_dir.take() {
            Some(dir) => dir,
            None => self.open_quarantine()?,
        };
        let quarantine = self.quarantine_dir.insert(quarantine);
        let from = parents::open_parent(self.root.as_fd(), path, Missing::Fail)?;
        let to = parents::open_parent(quarantine.as_fd(), path, Missing::Create(None))?;
        rustix::fs::renameat(&from, path.file_name(), &to, path.file_name())?;
        parents::remove_empty_parents(self.root.as_fd(), path);
        Ok(())
    }

    /// Undoes [`Workspace::quarantine`].
    pub(super) fn restore_quarantined(&self, path: &ProjectPath) -> io::Result<()> {
        let Some(quarantine) = &self.quarantine_dir else { return Ok(()) };
        let from = parents::open_parent(quarantine.as_fd(), path, Missing::Fail)?;
        let to = parents::open_parent(self.root.as_fd(), path, Missing::Create(self.user.as_ref()))?;
        Ok(rustix::fs::renameat(&from, path.file_name(), &to, path.file_name())?)
    }

    /// A directory for this start, so that what an earlier start quarantined stays as it is. It is on the project's
    /// filesystem, like the stage.
    fn open_quarantine(&self) -> io::Result<PrivateDir> {
        let name = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3f").to_string();
        if let Some(state_dir) = self.state_dir.as_ref().filter(|_| !self.stage.is_inside()) {
            return PrivateDir::open_or_create(PrivateDir::open_or_create(state_dir, BESIDE, MODE)?, &name, MODE);
        }
        let unwatched = stage::open_unwatched(self.root.as_fd(), self.user.as_ref())?;
        match PrivateDir::open_or_create(&unwatched, INSIDE, MODE) {
            Ok(dir) => PrivateDir::open_or_create(dir, &name, MODE),
            // The project's code made something with this name.
            Err(_) => PrivateDir::open_or_create(&unwatched, &format!("{INSIDE}-{name}"), MODE),
        }
    }
}

struct Listing {
    files: BTreeSet<ProjectPath>,
}

impl Visitor for Listing {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if let Some(path) = project_path(entry, EntryType::File) {
            self.files.insert(path);
        }
        Ok(())
    }

    /// A directory whose files no database path can name is left as it is, whatever its depth.
    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        let can_have_files = entry.depth.saturating_add(1) < MAX_PARTS;
        let is_project_dir = entry.path.to_str().is_some_and(|path| is_project_file(path, EntryType::Directory));
        Ok(if can_have_files && is_project_dir { Descent::Enter } else { Descent::Skip })
    }

    fn leave(&mut self, _: &Entry<'_>, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// The database path of an entry, where it can have one and is part of the project.
fn project_path(entry: &Entry<'_>, entry_type: EntryType) -> Option<ProjectPath> {
    debug_assert_ne!(entry.kind, FileType::Directory);
    let path = entry.path.to_str().filter(|path| is_project_file(path, entry_type))?;
    ProjectPath::parse(path).ok()
}
