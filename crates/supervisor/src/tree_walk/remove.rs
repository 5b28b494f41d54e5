use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, openat, statat, unlinkat};
use rustix::io::Errno;

use super::{DIRECTORY, Entry, Visitor, walk};

/// Removes the entry `name` of `parent`, and everything below it where it is a directory. A link is removed itself.
/// `name` is one name, without a separator. Nothing to remove is no error.
///
/// # Errors
/// The first entry that could not be removed. What was removed until then stays removed.
pub fn remove_tree(parent: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    let parent = parent.as_fd();
    let name = CString::new(name.as_ref().as_os_str().as_bytes())?;
    let stat = match statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlink(parent, &name, AtFlags::empty());
    }
    let dir = openat(parent, &name, DIRECTORY, Mode::empty())?;
    walk(&dir, &mut Remove)?;
    unlink(parent, &name, AtFlags::REMOVEDIR)
}

struct Remove;

impl Visitor for Remove {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        unlink(entry.dir, entry.name, AtFlags::empty())
    }

    fn leave(&mut self, entry: &Entry<'_>, _: BorrowedFd<'_>) -> io::Result<()> {
        unlink(entry.dir, entry.name, AtFlags::REMOVEDIR)
    }
}

fn unlink(dir: BorrowedFd<'_>, name: &std::ffi::CStr, flags: AtFlags) -> io::Result<()> {
    match unlinkat(dir, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
