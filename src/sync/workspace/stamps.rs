//! Notices files that something other than the agent changed, by their stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use sync_core::{ContentHash, LocalChange, ProjectPath};

use super::Workspace;
use super::hashing::{self, Progress, RunningHash};
use crate::sync::files::{FileStamp, MAX_FILE};

/// Paths that are checked at once: well below a millisecond.
const PATHS_PER_CHECK: usize = 200;
/// Bytes that are read at once. The workspace cannot write meanwhile: this is some 30 ms.
const BYTES_PER_READ: u64 = 8 << 20;

/// What is known of the file at a path.
#[derive(Debug)]
struct KnownFile {
    /// `None`: there was no file.
    stamp: Option<FileStamp>,
    /// `None`: there was no file, or it was not read.
    hash: Option<ContentHash>,
}

/// The stamps of every file that the agent has put into the project.
#[derive(Debug, Default)]
pub(super) struct FileStamps {
    known: BTreeMap<ProjectPath, KnownFile>,
    /// The last path that was checked.
    last_checked: Option<ProjectPath>,
    /// Paths whose stamp has changed and that were not read yet.
    unread: BTreeSet<ProjectPath>,
    /// A file that is too large to be read at once.
    partly_read: Option<Box<PartlyRead>>,
}

#[derive(Debug)]
struct PartlyRead {
    path: ProjectPath,
    file: File,
    stamp: FileStamp,
    hash: RunningHash,
}

/// What reading the changed files brought.
#[derive(Debug, Default)]
pub struct ReadChanges {
    /// Files whose content differs from what was known.
    pub changes: Vec<LocalChange>,
    /// Bytes that were read.
    pub bytes: u64,
}

/// The content of a path.
enum Observed {
    Content {
        stamp: Option<FileStamp>,
        hash: Option<ContentHash>,
    },
    /// More has to be read.
    Unfinished,
}

impl FileStamps {
    /// Records a file that the agent has put there.
    pub(super) fn put(&mut self, path: ProjectPath, stamp: FileStamp, hash: ContentHash) {
        self.known.insert(path, KnownFile { stamp: Some(stamp), hash: Some(hash) });
    }

    /// Records that an owned file does not exist.
    pub(super) fn put_missing(&mut self, path: ProjectPath) {
        self.known.insert(path, KnownFile { stamp: None, hash: None });
    }

    /// Removes the record of a file that the agent has removed.
    pub(super) fn forget(&mut self, path: &ProjectPath) {
        self.known.remove(path);
    }

    /// Whether the agent has put a file there.
    pub(super) fn contains(&self, path: &ProjectPath) -> bool {
        self.known.contains_key(path)
    }

    /// The hash of a file with this stamp. A file that was changed to the same size within one tick of the clock has the
    /// same stamp: a different hash proves that the file differs, an equal hash proves nothing.
    pub(super) fn hash_of(&self, path: &ProjectPath, stamp: FileStamp) -> Option<ContentHash> {
        self.known.get(path).filter(|known| known.stamp == Some(stamp)).and_then(|known| known.hash)
    }

    /// Paths that have a file, as far as is known.
    pub(super) fn present(&self) -> impl Iterator<Item = &ProjectPath> {
        self.known.iter().filter(|(_, known)| known.hash.is_some()).map(|(path, _)| path)
    }

    /// The next paths in their order; after the last path the first ones again.
    fn next(&mut self) -> Vec<ProjectPath> {
        let from = self.last_checked.as_ref().map_or(Unbounded, Excluded);
        let paths: Vec<_> =
            self.known.range((from, Unbounded)).take(PATHS_PER_CHECK).map(|(path, _)| path.clone()).collect();
        self.last_checked = paths.last().filter(|_| paths.len() == PATHS_PER_CHECK).cloned();
        paths
    }
}

impl Workspace {
    /// Checks the stamps of the next few paths. Returns the paths that [`Workspace::read_changed`] has to read. Nothing is
    /// read here.
    pub fn changed_stamps(&mut self) -> Vec<ProjectPath> {
        for path in self.stamps.next() {
            let known = self.stamps.known.get(&path).and_then(|known| known.stamp);
            // A link on the way leads to a file with another inode, which is then not read through the link.
            let stat = rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            if known != stat.ok().map(|stat| FileStamp::of(&stat)) {
                self.stamps.unread.insert(path);
            }
        }
        self.stamps.unread.iter().cloned().collect()
    }

    /// Reads files whose stamp has changed, at most [`BYTES_PER_READ`]; a later call continues. Each change is returned
    /// once.
    pub fn read_changed(&mut self) -> ReadChanges {
        let mut read = ReadChanges::default();
        for path in std::mem::take(&mut self.stamps.unread) {
            if read.bytes >= BYTES_PER_READ {
                self.stamps.unread.insert(path);
                continue;
            }
            match self.observe(&path, &mut read.bytes) {
                Ok(Observed::Unfinished) => {
                    self.stamps.unread.insert(path);
                }
                Ok(Observed::Content { stamp, hash }) => {
                    let Some(known) = self.stamps.known.get_mut(&path) else { continue };
                    known.stamp = stamp;
                    if known.hash != hash {
                        known.hash = hash;
                        read.changes.push(LocalChange { path, hash });
                    }
                }
                // It cannot be read now, or is being written: its stamp is checked again later.
                Err(_) => {}
            }
        }
        read
    }

    /// Reads the file at `path`, or a part of it, and adds the bytes that were read to `bytes`.
    fn observe(&mut self, path: &ProjectPath, bytes: &mut u64) -> Result<Observed, Errno> {
        let partly_read = self.stamps.partly_read.take_if(|partly_read| partly_read.path == *path);
        let (file, stat) = match self.open_file(path) {
            // A link, a directory or a pipe is no file of the database either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                let stat = rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW);
                return Ok(Observed::Content { stamp: stat.ok().map(|stat| FileStamp::of(&stat)), hash: None });
            }
            opened => opened?,
        };
        let stamp = FileStamp::of(&stat);
        if stamp.size() > MAX_FILE {
            let hash = Some(hashing::too_large(stamp.size()));
            return Ok(Observed::Content { stamp: Some(stamp), hash });
        }
        let (mut file, mut hash) = match partly_read {
            Some(partly_read) if partly_read.stamp == stamp => {
                let PartlyRead { file, hash, .. } = *partly_read;
                (file, hash)
            }
            _ => (file, RunningHash::default()),
        };
        let before = hash.bytes();
        let progress = hash.read(&mut file, BYTES_PER_READ.saturating_sub(*bytes)).map_err(|_| Errno::IO)?;
        *bytes = bytes.saturating_add(hash.bytes().saturating_sub(before));
        if progress == Progress::Unfinished {
            self.stamps.partly_read = Some(Box::new(PartlyRead { path: path.clone(), file, stamp, hash }));
            return Ok(Observed::Unfinished);
        }
        if FileStamp::of(&rustix::fs::fstat(&file)?) != stamp {
            return Err(Errno::AGAIN);
        }
        Ok(Observed::Content { stamp: Some(stamp), hash: Some(hash.finish()) })
    }
}
