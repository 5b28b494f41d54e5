//! The only place that writes the project.
//!
//! Every file is staged outside the dev server's sight and then renamed to its place. The way to that place is walked
//! by directory handle, one part at a time and never through a symlink, so that nothing the project's own code plants
//! can lead a write elsewhere.

mod apply;
mod case_folding;
mod owned;
mod parents;
mod quarantine;
mod stage;
mod stamps;
mod takeover;

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
use sync_core::{HydratedFile, ProjectPath};

pub use stage::Stage;
pub use takeover::Takeover;

use crate::sync::files::{ExtractDir, ExtractedFile, FileStamp};
use owned::Owned;
use stamps::FileStamps;
use supervisor::process::ProjectUser;

/// The project's directory, open, and the staging directory beside it.
#[derive(Debug)]
pub struct Workspace {
    root: OwnedFd,
    dir: PathBuf,
    state_dir: Option<PathBuf>,
    stage: Arc<Stage>,
    owned: Owned,
    stamps: FileStamps,
    /// This start's quarantine directory, once a file was moved there.
    quarantine_dir: Option<cap_std::fs::Dir>,
    quarantines_replaced: bool,
    /// The disk takes `A` and `a` for one name.
    folds_case: bool,
    /// Whose the project is, where that is not the agent.
    user: Option<ProjectUser>,
}

/// Why the workspace cannot be used; it names the operation and the path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}", path = .path.display())]
pub struct WorkspaceError {
    /// As in "cannot … path".
    pub operation: &'static str,
    /// What it was done to.
    pub path: PathBuf,
    /// What the system said.
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
    /// Opens (and makes) the project's directory, and finds a place to stage in: the state directory, or, where that
    /// cannot be made or a rename from it would cross filesystems, `node_modules/.preview-stage` in the project.
    /// Remembers what an earlier agent of the same project wrote.
    ///
    /// # Errors
    /// The project's directory cannot be made or opened, or there is no place to stage.
    pub fn open(project_dir: &Path, state_dir: &Path, project_id: &str) -> Result<Workspace, WorkspaceError> {
        std::fs::create_dir_all(project_dir).map_err(WorkspaceError::new("create", project_dir))?;
        let root = File::open(project_dir).map_err(WorkspaceError::new("open", project_dir))?;
        let kept = std::fs::create_dir_all(state_dir).is_ok();
        let stage = kept
            .then(|| Stage::open(&state_dir.join("stage"), project_dir))
            .and_then(Result::ok)
            .map_or_else(|| Stage::open_inside(project_dir), Ok)?;
        let owned = if kept { Owned::open(state_dir, project_id) } else { Ok(Owned::default()) };
        Ok(Workspace {
            owned: owned.map_err(WorkspaceError::new("keep the list of written files in", state_dir))?,
            root: root.into(),
            dir: project_dir.to_owned(),
            state_dir: kept.then(|| state_dir.to_owned()),
            folds_case: stage.folds_case(),
            stage: Arc::new(stage),
            stamps: FileStamps::default(),
            quarantine_dir: None,
            quarantines_replaced: false,
            user: None,
        })
    }

    /// The project is this user's from now on: its directory, and every file and directory that is made in it. What the
    /// agent keeps beside it is nobody else's to read.
    ///
    /// # Errors
    /// A directory that cannot be given away or closed.
    pub fn give_to(&mut self, user: &ProjectUser) -> Result<(), WorkspaceError> {
        user.own_dir(&self.root).map_err(WorkspaceError::new("give away", &self.dir))?;
        if let Some(state_dir) = &self.state_dir {
            // Others may go through it, to the trees that are installed there, and not look around.
            let closed = std::fs::set_permissions(state_dir, Permissions::from_mode(0o711));
            closed.map_err(WorkspaceError::new("close", state_dir))?;
        }
        self.stage.close(user).map_err(WorkspaceError::new("close the stage of", &self.dir))?;
        self.user = Some(user.clone());
        Ok(())
    }

    /// Where verified files wait for their rename.
    pub fn stage(&self) -> Arc<Stage> {
        self.stage.clone()
    }

    /// Whether the agent's own files outlive it.
    pub fn keeps_state(&self) -> bool {
        self.state_dir.is_some()
    }

    /// An empty directory for a snapshot to be extracted into.
    ///
    /// # Errors
    /// It cannot be made or emptied.
    pub fn hydration_dir(&self) -> Result<ExtractDir, WorkspaceError> {
        let dir = self.stage.make_dir(takeover::HYDRATE);
        let dir = dir.map_err(WorkspaceError::new("create a directory to extract into, beside", &self.dir))?;
        Ok(ExtractDir { dir, owner: self.user.clone() })
    }

    /// Gives a file the present as its time, so that a watcher looks again. Nothing happens where there is no file.
    pub fn touch(&self, path: &ProjectPath) {
        if let Ok((file, _)) = self.open_file(path) {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            // "Now" takes no more than the right to write: the file is the project's. Where even that is missing, its
            // change is not ours to announce.
            let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        }
    }

    /// What an earlier agent of this project wrote and what lies there now, with its hash. A file that cannot be read is
    /// left out: it will be written again.
    pub fn owned_files(&mut self) -> Vec<HydratedFile> {
        let mut files = Vec::new();
        let paths: Vec<_> = self.owned.paths().cloned().collect();
        for path in paths {
            match self.look_at(&path) {
                Some((file, stamp)) => {
                    self.stamps.put(path, stamp, file.hash);
                    files.push(file);
                }
                None => self.stamps.missing(path),
            }
        }
        files
    }

    /// What lies at `path` now, if it is a file.
    fn look_at(&self, path: &ProjectPath) -> Option<(HydratedFile, FileStamp)> {
        let (mut file, stat) = self.open_file(path).ok()?;
        let hash = apply::hash_of(&mut file).ok()?;
        let file = HydratedFile { path: path.clone(), version: None, hash, size: stat.st_size as u64 };
        Some((file, FileStamp::of(&stat)))
    }

    /// Moves an extracted and verified snapshot into the project. What stood there and is not of the snapshot is put
    /// aside, never deleted; what the dev server or the package manager made is not touched.
    ///
    /// # Errors
    /// The first file that could not be moved; everything moved until then is moved back.
    pub fn take_over(&mut self, files: &[ExtractedFile]) -> Result<Takeover, WorkspaceError> {
        takeover::take_over(self, files)
    }
}

#[cfg(test)]
mod tests;
