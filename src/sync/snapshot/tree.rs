//! The directory that a snapshot is extracted into.

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;

use cap_std::fs::{Dir, OpenOptions};
use sync_core::ProjectPath;

use super::SnapshotError;
use crate::sync::file_modes::{FolderModes, executable, mode_for};
use supervisor::process::ProjectUser;

/// The directory, and the directories created in it. `cap-std` opens every path with one `openat2`, which cannot leave the
/// directory.
pub(super) struct Tree {
    dir: Dir,
    made: HashSet<Box<str>>,
    new_file: OpenOptions,
    owner: Option<ProjectUser>,
    modes: Option<FolderModes>,
}

impl Tree {
    pub fn new(dir: Dir, owner: Option<ProjectUser>, modes: Option<FolderModes>) -> Tree {
        let mut new_file = OpenOptions::new();
        new_file.write(true).create_new(true);
        Tree { dir, made: HashSet::new(), new_file, owner, modes }
    }

    /// Creates a file at `path` and the directories above it. All of them belong to the owner.
    pub fn create(&mut self, path: &ProjectPath) -> Result<File, SnapshotError> {
        if let Some(parent) = path.parent() {
            self.make(parent).map_err(|error| failed(path, error))?;
        }
        let file = self.dir.open_with(path.as_str(), &self.new_file).map_err(|error| failed(path, error))?;
        let file = file.into_std();
        let found = self.modes.as_ref().and_then(|modes| modes.of(path));
        if let Some(mode) = mode_for(found, &[]) {
            file.set_permissions(Permissions::from_mode(mode)).map_err(|error| failed(path, error))?;
        }
        if let Some(owner) = &self.owner {
            owner.own(&file).map_err(|error| failed(path, error))?;
        }
        Ok(file)
    }

    fn make(&mut self, parent: &str) -> io::Result<()> {
        if self.made.contains(parent) {
            return Ok(());
        }
        for (end, _) in parent.match_indices('/').chain([(parent.len(), "")]) {
            let above = parent.get(..end).unwrap_or(parent);
            if !self.made.contains(above) {
                self.dir.create_dir(above)?;
                if let Some(owner) = &self.owner {
                    owner.own_dir(self.dir.open_dir(above)?)?;
                }
                self.made.insert(above.into());
            }
        }
        Ok(())
    }

    /// Makes the file executable for those who may read it.
    pub fn make_executable(&self, path: &ProjectPath) -> Result<(), SnapshotError> {
        let run = || {
            let file = self.dir.open(path.as_str())?.into_std();
            if self.owner.is_some() {
                // Changing the mode of another user's file takes a capability (FOWNER) that the agent does not need otherwise: the
                // file belongs to the agent for a moment.
                let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
                rustix::fs::fchown(&file, Some(user), Some(group))?;
            }
            file.set_permissions(Permissions::from_mode(executable(file.metadata()?.permissions().mode() & 0o777)))?;
            self.owner.as_ref().map_or(Ok(()), |owner| owner.own(&file))
        };
        run().map_err(|source| SnapshotError::Write { path: path.to_string(), source })
    }
}

/// The directory was empty, so an existing file comes from the same archive: the same name, a file in the place of a
/// directory or the reverse, or a name that is equal on this disk (`A` and `a` on macOS).
fn failed(path: &ProjectPath, source: io::Error) -> SnapshotError {
    match source.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            SnapshotError::Clash(path.to_string())
        }
        _ => SnapshotError::Write { path: path.to_string(), source },
    }
}

/// Creates a file in `dir` that has no name any more.
pub(super) fn spool(dir: &Dir) -> io::Result<File> {
    // A name that no project file can have.
    const NAME: &str = ".preview";
    let file = dir.open_with(NAME, OpenOptions::new().read(true).write(true).create_new(true))?;
    dir.remove_file(NAME)?;
    Ok(file.into_std())
}

/// Removes everything in `dir`.
pub(super) fn clear(dir: &Dir) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dir.remove_dir_all(entry.file_name())?;
        } else {
            dir.remove_file(entry.file_name())?;
        }
    }
    Ok(())
}
