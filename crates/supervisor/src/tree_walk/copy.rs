use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, openat, readlinkat, symlinkat};

use super::{DIRECTORY, Descent, Entry, Id, Visitor, open_parent, walk};

/// Permission bits that a copy keeps. Only the owner may write to a copy.
const KEPT_MODE: u32 = 0o755;

/// Copies everything below `source` to a new directory `name` of `parent`: files and directories with their permission
/// bits (but writable for their owner only), links as they are.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where `name` exists; [`io::ErrorKind::InvalidData`] for an entry that is neither a
/// file, a directory nor a link; otherwise what reading or writing returned. Part of the tree may then be there.
pub fn copy_tree(source: impl AsFd, parent: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    make_tree(source.as_fd(), parent.as_fd(), name.as_ref(), FileCopies::Content)
}

/// As [`copy_tree`], for a tree of packages that an install continues from: files are hard links where the file system
/// can link them. Package managers replace the files of a package and do not write to them; the files directly in
/// `source`, which they do write to, are copied. Directories directly in `source` that hold caches are left out.
///
/// # Errors
/// As [`copy_tree`].
pub fn link_tree(source: impl AsFd, parent: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    make_tree(source.as_fd(), parent.as_fd(), name.as_ref(), FileCopies::HardLinks)
}

/// Directories of caches in a tree of packages. They belong to the versions that were installed before.
const CACHES: [&[u8]; 4] = [b".vite", b".vite-temp", b".cache", b".preview-stage"];

/// How files are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileCopies {
    Content,
    HardLinks,
}

fn make_tree(source: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &Path, files: FileCopies) -> io::Result<()> {
    mkdirat(parent, name, Mode::RWXU)?;
    let target = openat(parent, name, DIRECTORY, Mode::empty())?;
    let mut copy = Copy { target, above: Vec::new(), files };
    walk(source, &mut copy)?;
    Ok(fchmod(&copy.target, mode_of(source)?)?)
}

struct Copy {
    /// The copy of the directory that the walk is in.
    target: OwnedFd,
    above: Vec<Id>,
    files: FileCopies,
}

impl Visitor for Copy {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        match entry.kind {
            FileType::Symlink => {
                let target = readlinkat(entry.dir, entry.name, Vec::new())?;
                Ok(symlinkat(&target, &self.target, entry.name)?)
            }
            FileType::RegularFile if self.files == FileCopies::HardLinks && entry.depth > 0 => {
                match linkat(entry.dir, entry.name, &self.target, entry.name, AtFlags::empty()) {
                    Ok(()) => Ok(()),
                    Err(_) => self.copy_file(entry),
                }
            }
            FileType::RegularFile => self.copy_file(entry),
            _ => Err(not_regular(entry.path)),
        }
    }

    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        let is_cache = entry.depth == 0 && CACHES.contains(&entry.name.to_bytes());
        if self.files == FileCopies::HardLinks && is_cache {
            return Ok(Descent::Skip);
        }
        mkdirat(&self.target, entry.name, Mode::RWXU)?;
        let target = openat(&self.target, entry.name, DIRECTORY, Mode::empty())?;
        self.above.push(Id::of(&self.target)?);
        self.target = target;
        Ok(Descent::Enter)
    }

    fn leave(&mut self, _: &Entry<'_>, dir: BorrowedFd<'_>) -> io::Result<()> {
        fchmod(&self.target, mode_of(dir)?)?;
        if let Some(parent) = self.above.pop() {
            self.target = open_parent(&self.target, parent)?;
        }
        Ok(())
    }
}

impl Copy {
    fn copy_file(&self, entry: &Entry<'_>) -> io::Result<()> {
        // A pipe in its place is not waited for.
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(entry.dir, entry.name, read, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&source)?.st_mode) != FileType::RegularFile {
            return Err(not_regular(entry.path));
        }
        let mode = mode_of(source.as_fd())?;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(&self.target, entry.name, create, Mode::RUSR | Mode::WUSR)?;
        let mut target = File::from(target);
        io::copy(&mut File::from(source), &mut target)?;
        Ok(fchmod(&target, mode)?)
    }
}

#[allow(clippy::unnecessary_cast, reason = "a mode has 16 bits on some systems")]
fn mode_of(file: BorrowedFd<'_>) -> io::Result<Mode> {
    Ok(Mode::from_bits_truncate((fstat(file)?.st_mode as u32 & KEPT_MODE) as _))
}

fn not_regular(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is not a file, a directory or a link", path.display()))
}
