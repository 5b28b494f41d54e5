use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, AtFlags, Mode};
use rustix::io::Errno;
use supervisor::process::ProjectUser;
use sync_core::StageId;

use super::parents::{Missing, open_dir};
use crate::sync::private_dir::PrivateDir;

/// The directory of a project that no dev server watches.
pub(super) const UNWATCHED: &str = "node_modules";
/// The staging directory in the state directory.
const BESIDE: &str = "stage";
/// The staging directory in [`UNWATCHED`].
const INSIDE: &str = ".preview-stage";
/// A file that is renamed once, to find out whether that works.
const PROBE: &str = ".preview-probe";
/// The mode of staged files before the umask, which is the mode that they have in the project.
const FILE_MODE: u32 = 0o666;

/// A directory on the project's filesystem that no dev server watches, for files on their way into the project. Only the
/// agent may enter it, and it is held open.
#[derive(Debug)]
pub struct Stage {
    dir: Mutex<PrivateDir>,
    place: Place,
    next: AtomicU64,
    files: Mutex<BTreeMap<StageId, String>>,
}

/// Where the staging directory is.
#[derive(Debug)]
enum Place {
    /// In the state directory.
    Beside,
    /// In the project's `node_modules`: an install may remove it, and the project's user may move it.
    Inside { root: OwnedFd, user: Option<ProjectUser> },
}

/// A staged file that the workspace is about to rename: a name in the staging directory.
#[derive(Debug)]
pub(super) struct Staged(String);

impl Stage {
    /// Creates an empty staging directory in the state directory, and checks that a file can be renamed from it into the
    /// project.
    pub(super) fn beside(state_dir: &PrivateDir, root: BorrowedFd<'_>) -> io::Result<Stage> {
        let dir = PrivateDir::recreate(state_dir, BESIDE)?;
        try_rename(&dir, root)?;
        Ok(Stage::new(dir, Place::Beside))
    }

    /// Creates an empty staging directory in the project. `user` gets a `node_modules` that is created for it.
    pub(super) fn inside(root: BorrowedFd<'_>, user: Option<&ProjectUser>) -> io::Result<Stage> {
        let dir = create_inside(root, user)?;
        Ok(Stage::new(dir, Place::Inside { root: root.try_clone_to_owned()?, user: user.cloned() }))
    }

    fn new(dir: PrivateDir, place: Place) -> Stage {
        Stage { dir: Mutex::new(dir), place, next: AtomicU64::new(0), files: Mutex::default() }
    }

    /// Whether it is in the project, because a rename from the state directory fails.
    pub(super) fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside { .. })
    }

    /// Whether two names that differ only in case are equal on this disk.
    pub(super) fn folds_case(&self) -> bool {
        let dir = self.dir();
        let stat = |name| fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let folds = dir.create_new("probe-case", 0o600).is_ok() && stat("PROBE-CASE").is_ok();
        // A probe that stays is removed when the stage is next opened.
        let _ = fs::unlinkat(&*dir, "probe-case", AtFlags::empty());
        folds
    }

    /// A new empty file. The core gets its id once the content is verified.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(&self) -> io::Result<(StageId, File)> {
        let id = StageId(self.next.fetch_add(1, Ordering::Relaxed));
        let (staged, file) = self.create_named(format!("f{}", id.0))?;
        self.files().insert(id, staged.0);
        Ok((id, file))
    }

    /// A new empty file that needs no id.
    pub(super) fn create_unnamed(&self) -> io::Result<(Staged, File)> {
        self.create_named(format!("f{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn create_named(&self, name: String) -> io::Result<(Staged, File)> {
        let mut dir = self.dir();
        let file = match (dir.create_new(&name, FILE_MODE), &self.place) {
            (Err(error), Place::Inside { root, user }) if error.kind() == io::ErrorKind::NotFound => {
                *dir = create_inside(root.as_fd(), user.as_ref())?;
                dir.create_new(&name, FILE_MODE)
            }
            (created, _) => created,
        };
        Ok((Staged(name), file?))
    }

    /// Removes a staged file that is not needed any more.
    pub fn discard(&self, id: StageId) {
        if let Some(staged) = self.take(id) {
            self.remove(staged);
        }
    }

    /// Hands a staged file over to the workspace.
    pub(super) fn take(&self, id: StageId) -> Option<Staged> {
        self.files().remove(&id).map(Staged)
    }

    pub(super) fn remove(&self, Staged(name): Staged) {
        // What cannot be removed now is removed when the stage is next opened.
        let _ = fs::unlinkat(&*self.dir(), name, AtFlags::empty());
    }

    /// The size in bytes of the staged file with this id.
    pub(super) fn size(&self, id: StageId) -> Option<u64> {
        let name = self.files().get(&id)?.clone();
        let stat = fs::statat(&*self.dir(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        u64::try_from(stat.st_size).ok()
    }

    pub(super) fn open_staged(&self, Staged(name): &Staged) -> io::Result<File> {
        self.dir().open_file(name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Renames a staged file to `name` in `parent`, in place of a file that has the name.
    pub(super) fn rename(&self, Staged(from): &Staged, parent: impl AsFd, name: &str) -> Result<(), Errno> {
        fs::renameat(&*self.dir(), from, parent, name)
    }

    /// An empty directory in the stage.
    pub(super) fn recreate_dir(&self, name: &str) -> io::Result<PrivateDir> {
        PrivateDir::recreate(&*self.dir(), name)
    }

    /// Removes a directory of the stage and everything in it.
    pub(super) fn remove_dir(&self, name: &str) -> io::Result<()> {
        supervisor::tree_walk::remove_tree(&*self.dir(), name)
    }

    /// Opens a directory of the stage.
    pub(super) fn open_dir(&self, name: &str) -> Result<OwnedFd, Errno> {
        open_dir(&*self.dir(), name)
    }

    fn dir(&self) -> MutexGuard<'_, PrivateDir> {
        self.dir.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<StageId, String>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The staging directory in the project. What the project's code put in its place is removed.
fn create_inside(root: BorrowedFd<'_>, user: Option<&ProjectUser>) -> io::Result<PrivateDir> {
    PrivateDir::recreate(open_unwatched(root, user)?, INSIDE)
}

/// Opens [`UNWATCHED`], which is created where it is missing.
pub(super) fn open_unwatched(root: BorrowedFd<'_>, user: Option<&ProjectUser>) -> io::Result<OwnedFd> {
    Ok(super::parents::enter(root, UNWATCHED, Missing::Create(user))?)
}

/// Renames a file from the stage into the project. Equal device numbers would prove nothing: a rename between two bind
/// mounts of one filesystem fails.
fn try_rename(stage: &PrivateDir, root: BorrowedFd<'_>) -> io::Result<()> {
    stage.create_new(PROBE, 0o600)?;
    let created = fs::mkdirat(root, UNWATCHED, Mode::RWXU).is_ok();
    let target = open_dir(root, UNWATCHED).or_else(|_| open_dir(root, "."))?;
    let renamed = match fs::renameat(stage, PROBE, &target, PROBE) {
        // A directory has the name: the filesystem is the same.
        Err(Errno::ISDIR) => Ok(()),
        renamed => renamed,
    };
    // What cannot be removed fails again, with a better message, at the first real write.
    let _ = fs::unlinkat(&target, PROBE, AtFlags::empty());
    if created {
        // An empty directory that stays does no harm.
        let _ = fs::unlinkat(root, UNWATCHED, AtFlags::REMOVEDIR);
    }
    Ok(renamed?)
}
