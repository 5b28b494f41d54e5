use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Uid, chownat, fchown, statat};
use rustix::io::Errno;

use super::{Entry, Visitor, walk};

/// Makes `root` and all that is below it belong to `uid` and `gid`. Links themselves are given and not followed. A
/// directory is given after its entries, so that the new owner cannot change what was not given yet.
///
/// A file with several names is left as it is: another of its names may lie outside of the tree, and giving it away
/// would give that away.
///
/// # Errors
/// The first entry that could not be given.
pub fn own_tree(root: impl AsFd, uid: Uid, gid: Gid) -> io::Result<()> {
    let root = root.as_fd();
    walk(root, &mut Own { uid, gid })?;
    Ok(chownat(root, ".", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

struct Own {
    uid: Uid,
    gid: Gid,
}

impl Visitor for Own {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        match self.own(entry) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn leave(&mut self, _: &Entry<'_>, dir: BorrowedFd<'_>) -> io::Result<()> {
        Ok(fchown(dir, Some(self.uid), Some(self.gid))?)
    }
}

impl Own {
    /// By an open handle where the system has one that opens nothing: the name may be another file's a moment later.
    #[cfg(target_os = "linux")]
    fn own(&self, entry: &Entry<'_>) -> Result<(), Errno> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(entry.dir, entry.name, flags, Mode::empty())?;
        let stat = statat(&file, c"", AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || stat.st_nlink > 1 {
            return Ok(());
        }
        chownat(&file, c"", Some(self.uid), Some(self.gid), AtFlags::EMPTY_PATH)
    }

    #[cfg(not(target_os = "linux"))]
    fn own(&self, entry: &Entry<'_>) -> Result<(), Errno> {
        let stat = statat(entry.dir, entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || stat.st_nlink > 1 {
            return Ok(());
        }
        chownat(entry.dir, entry.name, Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)
    }
}
