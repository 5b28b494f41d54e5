//! Where what is not of the database is put aside: never deleted.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sync_core::ProjectPath;

use super::parents::Missing;
use super::{Workspace, WorkspaceError, parents};
use crate::sync::folder::{EntryType, is_project_file};

/// Its name in the state directory.
const FOUND: &str = "found";

impl Workspace {
    /// From now on a file that the agent did not write is put aside before another takes its place: for a first state
    /// that comes file by file. [`Workspace::quarantine_all_except`] ends it.
    pub fn quarantine_replaced_files(&mut self) {
        self.quarantines_replaced = true;
    }

    /// Puts everything aside that could be of the database and is not named.
    ///
    /// # Errors
    /// The first file that could not be moved; those before it are aside.
    pub fn quarantine_all_except(&mut self, wanted: &BTreeSet<ProjectPath>) -> Result<usize, WorkspaceError> {
        self.quarantines_replaced = false;
        let failed = |path: &str| WorkspaceError::new("put aside", self.dir.join(path));
        let foreign: Vec<_> =
            self.all_standing().map_err(failed(""))?.into_iter().filter(|path| !wanted.contains(path)).collect();
        for path in &foreign {
            self.quarantine(path).map_err(WorkspaceError::new("put aside", self.dir.join(path.as_str())))?;
            self.stamps.forget(path);
        }
        let recorded = self.owned.remove(&foreign);
        recorded.map_err(WorkspaceError::new("record as put aside what lay in", &self.dir))?;
        Ok(foreign.len())
    }

    /// Files and symlinks in the project that could be of the database. Nothing is read through a symlink.
    pub(super) fn all_standing(&self) -> io::Result<BTreeSet<ProjectPath>> {
        let mut standing = BTreeSet::new();
        list(&Dir::reopen_dir(&self.root)?, "", &mut standing)?;
        Ok(standing)
    }

    /// Moves a file to this start's directory of found files.
    pub(super) fn quarantine(&mut self, path: &ProjectPath) -> io::Result<()> {
        let found = match self.quarantine_dir.take() {
            Some(found) => found,
            None => self.open_found()?,
        };
        let found = self.quarantine_dir.insert(found);
        let parent = parents::parent(self.root.as_fd(), path, Missing::Fails)?;
        if let Some(above) = path.parent() {
            found.create_dir_all(above)?;
        }
        rustix::fs::renameat(&parent, path.file_name(), &*found, path.as_str())?;
        parents::prune(self.root.as_fd(), path);
        Ok(())
    }

    /// Undoes [`Workspace::quarantine`].
    pub(super) fn restore_quarantined(&self, path: &ProjectPath) -> io::Result<()> {
        let Some(found) = &self.quarantine_dir else { return Ok(()) };
        let parent = parents::parent(self.root.as_fd(), path, Missing::IsMade(self.user.as_ref()))?;
        Ok(rustix::fs::renameat(found, path.as_str(), &parent, path.file_name())?)
    }

    /// A directory of this start's own, so that what an earlier one put aside stays as it is. It lies on the project's
    /// filesystem: beside the stage.
    fn open_found(&self) -> io::Result<Dir> {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3f").to_string();
        let (base, name) = match &self.state_dir {
            Some(state) if !self.stage.is_inside() => {
                (Dir::open_ambient_dir(state, ambient_authority())?, Path::new(FOUND).join(stamp))
            }
            _ => (Dir::reopen_dir(&self.root)?, Path::new("node_modules/.preview-found").join(stamp)),
        };
        base.create_dir_all(&name)?;
        base.open_dir(&name)
    }
}

fn list(dir: &Dir, above: &str, standing: &mut BTreeSet<ProjectPath>) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        // A name that no database path can have is foreign for good; it stays.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        let is_dir = entry.file_type()?.is_dir();
        if !is_project_file(&path, if is_dir { EntryType::Directory } else { EntryType::File }) {
            continue;
        }
        if is_dir {
            list(&entry.open_dir()?, &path, standing)?;
        } else if let Ok(path) = ProjectPath::parse(&path) {
            standing.insert(path);
        }
    }
    Ok(())
}
