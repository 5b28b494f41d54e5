//! The way to a file's directory, by handle and never through a symlink.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sync_core::ProjectPath;

use supervisor::process::ProjectUser;

/// What `mkdir` gives; the umask takes from it.
const DIRECTORY: Mode = Mode::from_raw_mode(0o777);

/// What is done about a directory that is not there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing<'a> {
    Fails,
    /// It is made, and is this user's where one is given.
    IsMade(Option<&'a ProjectUser>),
}

/// The directory that `path` lies in, made where it is missing and that is wished.
///
/// # Errors
/// `NOTDIR` or `LOOP` where a file or a symlink stands in the way, `NOENT` where there is none and none is to be made.
pub(super) fn parent(root: BorrowedFd<'_>, path: &ProjectPath, missing: Missing<'_>) -> Result<OwnedFd, Errno> {
    let mut dir = Cow::Borrowed(path.parent().unwrap_or(""));
    if dir.is_empty() {
        dir = Cow::Borrowed(".");
    }
    let mut at: Option<OwnedFd> = None;
    for part in dir.split('/') {
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(match open_dir(from, part) {
            Err(Errno::NOENT) => match missing {
                Missing::IsMade(user) => make(from, part, user)?,
                Missing::Fails => return Err(Errno::NOENT),
            },
            other => other?,
        });
    }
    Ok(at.expect("a path has at least one part"))
}

/// Removes the directories above `path` that are left empty, from below, never the root.
pub(super) fn prune(root: BorrowedFd<'_>, path: &ProjectPath) {
    let mut below = path.parent();
    while let Some(dir) = below {
        let Ok(dir_path) = ProjectPath::parse(dir) else { return };
        let Ok(at) = parent(root, &dir_path, Missing::Fails) else { return };
        // Not empty is the ordinary end of it; any other refusal leaves an empty directory, which harms nobody.
        if fs::unlinkat(&at, dir_path.file_name(), AtFlags::REMOVEDIR).is_err() {
            return;
        }
        below = dir.rsplit_once('/').map(|(above, _)| above);
    }
}

fn make(from: BorrowedFd<'_>, part: &str, user: Option<&ProjectUser>) -> Result<OwnedFd, Errno> {
    let made = match fs::mkdirat(from, part, DIRECTORY) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let dir = open_dir(from, part)?;
    if let (true, Some(user)) = (made, user) {
        fs::fchown(&dir, Some(user.uid()), Some(user.gid()))?;
    }
    Ok(dir)
}

fn open_dir(from: BorrowedFd<'_>, part: &str) -> Result<OwnedFd, Errno> {
    fs::openat(from, part, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
