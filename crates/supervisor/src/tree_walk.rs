//! Walks a directory tree of any depth without following links.
//!
//! A project's own code can make trees of tens of thousands of levels, and can change a tree while it is walked. So:
//!
//! - The walk keeps its own stack and two open directories, whatever the depth. It uses no recursion.
//! - Each directory is opened by its name relative to the open directory above it, never through a link.
//! - The way up is `..`. The directory found there must be the one that the walk came from (same device and inode);
//!   otherwise the walk ends with an error. A directory that was moved away cannot lead the walk out of the tree.

mod copy;
mod own;
mod remove;

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

pub use copy::{copy_tree, link_tree};
pub use own::own_tree;
pub use remove::remove_tree;

/// One entry of the tree.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The open directory that holds the entry.
    pub dir: BorrowedFd<'a>,
    /// The entry's name in [`Entry::dir`].
    pub name: &'a CStr,
    /// What the entry was when its directory was listed. It may be something else by now.
    pub kind: FileType,
    /// The way from the root of the walk to the entry, the name included.
    pub path: &'a Path,
    /// Directories between the root of the walk and the entry: 0 for an entry of the root.
    pub depth: usize,
}

/// Whether the walk enters a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descent {
    /// List the directory, then call [`Visitor::leave`] for it.
    Enter,
    /// Neither list it nor call [`Visitor::leave`] for it.
    Skip,
}

/// What to do at each entry. An error ends the walk, and [`walk`] returns it.
pub trait Visitor {
    /// An entry that is not a directory: a file, a link, a pipe, a socket or a device.
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()>;

    /// A directory, before its entries.
    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        let _ = entry;
        Ok(Descent::Enter)
    }

    /// A directory, after all of its entries. `dir` is the directory itself, still open.
    fn leave(&mut self, entry: &Entry<'_>, dir: BorrowedFd<'_>) -> io::Result<()> {
        let _ = (entry, dir);
        Ok(())
    }
}

/// Visits everything below `root`, which is not visited itself. Entries come in the order of the file system; a
/// directory's files come before its directories. An entry that disappears during the walk is left out.
///
/// # Errors
/// What the visitor returns, what the system returns for a directory that cannot be opened or listed, and
/// [`io::ErrorKind::Other`] where a directory was moved during the walk.
pub fn walk(root: impl AsFd, visitor: &mut impl Visitor) -> io::Result<()> {
    let mut dir = openat(root, c".", DIRECTORY, Mode::empty())?;
    let mut path = Vec::new();
    let mut above: Vec<Level> = Vec::new();
    let mut subdirectories = visit_files(&dir, &mut path, 0, visitor)?;
    loop {
        if let Some(name) = subdirectories.pop() {
            let length = path.len();
            push(&mut path, &name);
            let entry = entry(dir.as_fd(), &name, FileType::Directory, &path, above.len());
            let child = match visitor.enter(&entry)? {
                Descent::Enter => open_child(&dir, &name)?,
                Descent::Skip => None,
            };
            let Some(child) = child else {
                path.truncate(length);
                continue;
            };
            above.push(Level { id: Id::of(&dir)?, name, length, subdirectories });
            subdirectories = visit_files(&child, &mut path, above.len(), visitor)?;
            dir = child;
        } else if let Some(level) = above.pop() {
            let parent = open_parent(&dir, level.id)?;
            let entry = entry(parent.as_fd(), &level.name, FileType::Directory, &path, above.len());
            visitor.leave(&entry, dir.as_fd())?;
            path.truncate(level.length);
            (dir, subdirectories) = (parent, level.subdirectories);
        } else {
            return Ok(());
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory above the open one.
struct Level {
    id: Id,
    /// The name of the directory that was entered from it.
    name: CString,
    /// The length of the directory's own path.
    length: usize,
    /// Directories in it that were not visited yet.
    subdirectories: Vec<CString>,
}

/// Tells one directory from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    device: u64,
    inode: u64,
}

impl Id {
    #[allow(clippy::unnecessary_cast, reason = "the fields differ in size and sign from system to system")]
    fn of(dir: impl AsFd) -> io::Result<Id> {
        let stat = fstat(dir)?;
        Ok(Id { device: stat.st_dev as u64, inode: stat.st_ino as u64 })
    }
}

/// Visits what is not a directory, and returns the names of the directories.
fn visit_files(
    dir: &OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    visitor: &mut impl Visitor,
) -> io::Result<Vec<CString>> {
    let mut subdirectories = Vec::new();
    let length = path.len();
    for found in Dir::read_from(dir)? {
        let found = found?;
        let name = found.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match found.file_type() {
            FileType::Unknown => match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        if kind == FileType::Directory {
            subdirectories.push(name.to_owned());
            continue;
        }
        push(path, name);
        visitor.file(&entry(dir.as_fd(), name, kind, path, depth))?;
        path.truncate(length);
    }
    Ok(subdirectories)
}

fn entry<'a>(dir: BorrowedFd<'a>, name: &'a CStr, kind: FileType, path: &'a [u8], depth: usize) -> Entry<'a> {
    Entry { dir, name, kind, path: Path::new(OsStr::from_bytes(path)), depth }
}

fn push(path: &mut Vec<u8>, name: &CStr) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
}

/// None where the directory has disappeared, or is something else by now.
fn open_child(dir: &OwnedFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Ok(child) => Ok(Some(child)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_parent(dir: &OwnedFd, expected: Id) -> io::Result<OwnedFd> {
    let parent = openat(dir, c"..", DIRECTORY, Mode::empty())?;
    if Id::of(&parent)? == expected {
        Ok(parent)
    } else {
        Err(io::Error::other("a directory was moved while its tree was walked"))
    }
}

#[cfg(test)]
mod tests;
