use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{AtFlags, Mode};
use sync_core::StageId;

use super::WorkspaceError;
use supervisor::process::ProjectUser;

/// Where files are staged if the project is a filesystem of its own. No dev server watches `node_modules`.
const INSIDE: &str = "node_modules/.preview-stage";

/// A directory on the project's filesystem that no dev server watches, for files on their way into the project.
/// It is held open: whatever is planted under its name later leads nowhere.
#[derive(Debug)]
pub struct Stage {
    dir: Mutex<Dir>,
    /// The project, where the stage lies in its `node_modules`, which an install may sweep away.
    inside: Option<Dir>,
    next: AtomicU64,
    files: Mutex<BTreeMap<StageId, String>>,
}

/// A staged file that is the workspace's to rename: a name in the staging directory.
#[derive(Debug)]
pub(super) struct Staged(String);

impl Stage {
    /// Opens an empty staging directory at `path`, and tries that a file can be renamed from it into the project.
    pub(super) fn open(path: &Path, project_dir: &Path) -> Result<Stage, WorkspaceError> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WorkspaceError::new("empty", path)(error));
            }
            _ => std::fs::create_dir_all(path).map_err(WorkspaceError::new("create", path))?,
        }
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(WorkspaceError::new("open", path))?;
        let project = open_project(project_dir)?;
        try_rename(&dir, &project).map_err(WorkspaceError::new("rename a staged file into", project_dir))?;
        Ok(Stage::at(dir, None))
    }

    /// The staging directory within the project.
    pub(super) fn open_inside(project_dir: &Path) -> Result<Stage, WorkspaceError> {
        let project = open_project(project_dir)?;
        let failed = |operation| WorkspaceError::new(operation, project_dir.join(INSIDE));
        match project.remove_dir_all(INSIDE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("empty")(error)),
            _ => {}
        }
        let dir = make_inside(&project).map_err(failed("create"))?;
        Ok(Stage::at(dir, Some(project)))
    }

    fn at(dir: Dir, inside: Option<Dir>) -> Stage {
        Stage { dir: Mutex::new(dir), inside, next: AtomicU64::new(0), files: Mutex::default() }
    }

    /// Nobody else may look into it. Where it lies within the project, the `node_modules` around it are the project's.
    pub(super) fn close(&self, user: &ProjectUser) -> io::Result<()> {
        let dir = self.dir.lock().expect("no panic while held");
        if let Some(project) = &self.inside {
            user.own_dir(project.open_dir("node_modules")?)?;
        }
        rustix::fs::chmodat(&*dir, ".", Mode::from_raw_mode(0o700), AtFlags::empty())?;
        Ok(())
    }

    /// Whether it lies within the project, on a filesystem that the state directory is not on.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// Whether this disk takes two names that differ only in case for one.
    pub(super) fn folds_case(&self) -> bool {
        let dir = self.dir.lock().expect("no panic while held");
        let folds = dir.create("probe-case").is_ok() && dir.exists("PROBE-CASE");
        // What is left of it goes when the stage is next opened.
        let _ = dir.remove_file("probe-case");
        folds
    }

    /// A new empty file. Its id is what the core is told once the content is verified.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(&self) -> io::Result<(StageId, File)> {
        let id = StageId(self.next.fetch_add(1, Ordering::Relaxed));
        let (staged, file) = self.create_named(format!("f{}", id.0))?;
        self.files.lock().expect("no panic while held").insert(id, staged.0);
        Ok((id, file))
    }

    /// A new empty file that no id is needed for.
    pub(super) fn create_unnamed(&self) -> io::Result<(Staged, File)> {
        self.create_named(format!("f{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn create_named(&self, name: String) -> io::Result<(Staged, File)> {
        let mut options = OpenOptions::new();
        options.write(true).read(true).create_new(true);
        let mut dir = self.dir.lock().expect("no panic while held");
        let file = match (dir.open_with(&name, &options), &self.inside) {
            (Err(error), Some(project)) if error.kind() == io::ErrorKind::NotFound => {
                *dir = make_inside(project)?;
                dir.open_with(&name, &options)
            }
            (opened, _) => opened,
        };
        Ok((Staged(name), file?.into_std()))
    }

    /// Removes a staged file that is not wanted any more.
    pub fn discard(&self, id: StageId) {
        if let Some(staged) = self.take(id) {
            self.remove(staged);
        }
    }

    /// A staged file, the workspace's from now on.
    pub(super) fn take(&self, id: StageId) -> Option<Staged> {
        self.files.lock().expect("no panic while held").remove(&id).map(Staged)
    }

    pub(super) fn remove(&self, Staged(name): Staged) {
        // What cannot be removed now goes when the stage is next opened.
        let _ = self.dir.lock().expect("no panic while held").remove_file(name);
    }

    pub(super) fn open_staged(&self, Staged(name): &Staged) -> io::Result<File> {
        Ok(self.dir.lock().expect("no panic while held").open(name)?.into_std())
    }

    /// Puts a staged file at `name` in `parent`, in place of what stands there.
    pub(super) fn rename(&self, Staged(name): &Staged, parent: impl AsFd, to: &str) -> Result<(), rustix::io::Errno> {
        rustix::fs::renameat(&*self.dir.lock().expect("no panic while held"), name, parent, to)
    }

    /// An empty directory in the stage.
    pub(super) fn make_dir(&self, name: &str) -> io::Result<Dir> {
        let dir = self.dir.lock().expect("no panic while held");
        match dir.remove_dir_all(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => dir.create_dir(name)?,
        }
        dir.open_dir(name)
    }

    /// Removes a directory of the stage and what is left in it.
    pub(super) fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.dir.lock().expect("no panic while held").remove_dir_all(name)
    }

    /// A directory of the stage, by its name.
    pub(super) fn open_dir(&self, name: &str) -> io::Result<Dir> {
        self.dir.lock().expect("no panic while held").open_dir(name)
    }
}

fn open_project(path: &Path) -> Result<Dir, WorkspaceError> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(WorkspaceError::new("open", path))
}

fn make_inside(project: &Dir) -> io::Result<Dir> {
    project.create_dir_all(INSIDE)?;
    project.open_dir(INSIDE)
}

/// Equal device numbers prove nothing (bind mounts): only a rename does. It goes into `node_modules`, unwatched.
fn try_rename(stage: &Dir, project: &Dir) -> io::Result<()> {
    stage.create("probe")?;
    let made = project.create_dir("node_modules").is_ok();
    let landed = "node_modules/.preview-probe";
    let renamed = stage.rename("probe", project, landed);
    // Leftovers of the probe: what stands in their way shows again, and better, at the first real write.
    let _ = project.remove_file(landed);
    if made {
        let _ = project.remove_dir("node_modules");
    }
    renamed
}
