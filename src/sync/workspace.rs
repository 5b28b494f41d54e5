//! The only writer of the project.
//!
//! Every file is staged where the dev server does not see it, and then renamed to its place. The directory of that place
//! is opened by handle, one part at a time and never through a link: whatever the project's own code makes, no write
//! leaves the project.

mod apply;
mod case_folding;
mod current;
mod hashing;
mod kept;
mod owned_paths;
mod parents;
mod quarantine;
mod stage;
mod stamps;
mod takeover;

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Timespec, Timestamps, UTIME_NOW};
use supervisor::process::ProjectUser;
use sync_core::ProjectPath;

pub use hashing::{Cancel, CancelOnDrop};
pub use stage::Stage;
pub use stamps::ReadChanges;
pub use takeover::Takeover;

use crate::sync::file_modes::FolderModes;
use crate::sync::files::ExtractDir;
use crate::sync::private_dir::PrivateDir;
use owned_paths::OwnedPaths;
use stamps::FileStamps;

/// The mode of the state directory where the project's code is another user: that user may pass through it, to the
/// directories that are made for it there, and may not list it.
const STATE_DIR_MODE: u32 = 0o711;

/// The project's directory, and the directories that are needed to write to it. All of them are held open.
#[derive(Debug)]
pub struct Workspace {
    root: OwnedFd,
    dir: PathBuf,
    state_dir: Option<PrivateDir>,
    stage: Arc<Stage>,
    owned: OwnedPaths,
    stamps: FileStamps,
    /// This start's quarantine directory, once a file was moved there.
    quarantine_dir: Option<PrivateDir>,
    replaced: Replaced,
    /// Two names that differ only in case are equal on this disk.
    folds_case: bool,
    /// The user that the project belongs to; `None`: the agent's own user.
    user: Option<ProjectUser>,
    /// The folder whose modes new files get.
    modes: Option<FolderModes>,
}

/// What to do with a file that the agent did not write, when another one takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Overwrite,
    Quarantine,
}

/// Why the workspace cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}", path = .path.display())]
pub struct WorkspaceError {
    /// As in "cannot … path".
    pub operation: &'static str,
    /// The path that it failed at.
    pub path: PathBuf,
    /// What the system returned.
    #[source]
    pub source: io::Error,
}

impl WorkspaceError {
    fn new(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> WorkspaceError {
        let path = path.into();
        move |source| WorkspaceError { operation, path, source }
    }
}

impl Workspace {
    /// Opens the project's directory, which is created where it is missing, and finds a place for the stage: the state
    /// directory, or `node_modules/.preview-stage` in the project where the state directory cannot be created or is on
    /// another filesystem. Reads which files an earlier agent of this project wrote.
    ///
    /// With `user`, the project's directory and everything that the agent creates in it belong to that user, who can neither
    /// list the state directory nor enter the stage. The caller has checked the directories above with
    /// [`crate::sync::trusted_path::check`].
    ///
    /// # Errors
    /// The project's directory is a link or cannot be created, opened or given to `user`, or there is no place for the
    /// stage.
    pub fn open(
        project_dir: &Path,
        state_dir: &Path,
        project_id: &str,
        user: Option<&ProjectUser>,
    ) -> Result<Workspace, WorkspaceError> {
        let root = open_root(project_dir)?;
        if let Some(user) = user {
            user.own_dir(&root).map_err(WorkspaceError::new("change the owner of", project_dir))?;
        }
        let (kept, failed) = (PrivateDir::open_path(state_dir).ok(), |what| WorkspaceError::new(what, state_dir));
        if let (Some(kept), Some(_)) = (&kept, user) {
            kept.set_mode(STATE_DIR_MODE).map_err(failed("change the mode of"))?;
        }
        let beside = kept.as_ref().and_then(|kept| Stage::beside(kept, root.as_fd()).ok());
        let stage = match beside {
            Some(stage) => stage,
            None => Stage::inside(root.as_fd(), user)
                .map_err(WorkspaceError::new("create a staging directory in", project_dir))?,
        };
        let owned = kept.as_ref().map_or_else(|| Ok(OwnedPaths::default()), |kept| OwnedPaths::open(kept, project_id));
        Ok(Workspace {
            owned: owned.map_err(failed("keep the list of written files in"))?,
            root,
            dir: project_dir.to_owned(),
            state_dir: kept,
            folds_case: stage.folds_case(),
            stage: Arc::new(stage),
            stamps: FileStamps::default(),
            quarantine_dir: None,
            replaced: Replaced::Overwrite,
            user: user.cloned(),
            modes: None,
        })
    }

    /// From now on files get the modes that they have in this folder.
    pub fn use_modes_of(&mut self, folder: FolderModes) {
        self.modes = Some(folder);
    }

    /// Where verified files wait for their rename.
    pub fn stage(&self) -> Arc<Stage> {
        self.stage.clone()
    }

    /// The state directory; `None` where it cannot be created: then nothing is kept for a later start.
    pub fn state_dir(&self) -> Option<&PrivateDir> {
        self.state_dir.as_ref()
    }

    /// An empty directory for a snapshot to be extracted into.
    ///
    /// # Errors
    /// It cannot be created or emptied.
    pub fn extract_dir(&self) -> Result<ExtractDir, WorkspaceError> {
        let dir = self.stage.recreate_dir(takeover::EXTRACTED).and_then(|dir| dir.try_clone());
        let dir = dir.map_err(WorkspaceError::new("create a directory for the snapshot of", &self.dir))?;
        Ok(ExtractDir { dir: cap_std::fs::Dir::from(dir), owner: self.user.clone(), modes: self.modes.clone() })
    }

    /// Sets the modification time of a file to now, so that a watcher looks at it again. Does nothing without a file.
    pub fn touch(&self, path: &ProjectPath) {
        if let Ok((file, _)) = self.open_file(path) {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            // "Now" needs only the right to write. Without it, the change of the file was not the agent's.
            let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        }
    }
}

/// Opens the project's directory, and no link.
fn open_root(project_dir: &Path) -> Result<OwnedFd, WorkspaceError> {
    // Without a final slash, which would follow a link.
    let path: PathBuf = project_dir.components().collect();
    let created = DirBuilder::new().recursive(true).mode(0o755).create(&path);
    created.map_err(WorkspaceError::new("create", project_dir))?;
    let root = parents::open_dir(CWD, &path).map_err(io::Error::from);
    root.map_err(WorkspaceError::new("open", project_dir))
}

#[cfg(test)]
mod tests;
