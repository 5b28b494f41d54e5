//! Opens the directory that a path lies in, by handle and never through a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sync_core::ProjectPath;

use supervisor::process::ProjectUser;

/// The mode of new directories, before the umask.
const DIRECTORY: Mode = Mode::from_raw_mode(0o777);

/// What to do where a directory is missing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing<'a> {
    Fail,
    /// Create it, and give it to this user.
    Create(Option<&'a ProjectUser>),
}

/// Opens the directory that `path` lies in.
///
/// # Errors
/// `NOTDIR` or `LOOP` where a file or a link is in the way; `NOENT` where a directory is missing and is not to be created.
pub(super) fn open_parent(root: BorrowedFd<'_>, path: &ProjectPath, missing: Missing<'_>) -> Result<OwnedFd, Errno> {
    open_path(root, path.parent().unwrap_or("."), missing)
}

/// Opens the directory at `path`, whose parts are neither empty nor `..`.
fn open_path(root: BorrowedFd<'_>, path: &str, missing: Missing<'_>) -> Result<OwnedFd, Errno> {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut dir = enter(root, first, missing)?;
    for part in rest.into_iter().flat_map(|rest| rest.split('/')) {
        dir = enter(dir.as_fd(), part, missing)?;
    }
    Ok(dir)
}

/// Removes the empty directories above `path`, from the innermost one, but never the root.
pub(super) fn remove_empty_parents(root: BorrowedFd<'_>, path: &ProjectPath) {
    let mut next = path.parent();
    while let Some(dir) = next {
        let (parent, name) = dir.rsplit_once('/').map_or((None, dir), |(parent, name)| (Some(parent), name));
        let Ok(handle) = open_path(root, parent.unwrap_or("."), Missing::Fail) else { return };
        // The first directory that is not empty ends the loop. After any other error an empty directory stays.
        if fs::unlinkat(&handle, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
        next = parent;
    }
}

pub(super) fn enter(from: BorrowedFd<'_>, name: &str, missing: Missing<'_>) -> Result<OwnedFd, Errno> {
    match (open_dir(from, name), missing) {
        (Err(Errno::NOENT), Missing::Create(user)) => create(from, name, user),
        (opened, _) => opened,
    }
}

fn create(from: BorrowedFd<'_>, name: &str, user: Option<&ProjectUser>) -> Result<OwnedFd, Errno> {
    let is_new = match fs::mkdirat(from, name, DIRECTORY) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let dir = open_dir(from, name)?;
    if let (true, Some(user)) = (is_new, user) {
        fs::fchown(&dir, Some(user.uid()), Some(user.gid()))?;
    }
    Ok(dir)
}

/// Opens the directory `name` in `from`, and no link.
pub(super) fn open_dir(from: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::openat(from, name, flags, Mode::empty())
}
