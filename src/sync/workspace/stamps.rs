//! What the agent noted of each file when it put it there, and whether that still holds.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use sync_core::{ContentHash, LocalChange, ProjectPath};

use super::{Workspace, apply};
use crate::sync::files::FileStamp;

/// Paths looked at in one go: well below a millisecond.
const LOOK_PATHS: usize = 200;

/// What lies at a path, as far as is known; no hash: no file.
#[derive(Debug)]
struct Note {
    stamp: Option<FileStamp>,
    hash: Option<ContentHash>,
}

/// The notes of every file that the agent has put into the project.
#[derive(Debug, Default)]
pub(super) struct FileStamps {
    notes: BTreeMap<ProjectPath, Note>,
    /// Where the last look ended.
    looked: Option<ProjectPath>,
}

impl FileStamps {
    /// The agent has put this there.
    pub(super) fn put(&mut self, path: ProjectPath, stamp: FileStamp, hash: ContentHash) {
        self.notes.insert(path, Note { stamp: Some(stamp), hash: Some(hash) });
    }

    /// An owned file is not there.
    pub(super) fn missing(&mut self, path: ProjectPath) {
        self.notes.insert(path, Note { stamp: None, hash: None });
    }

    /// The agent has removed it.
    pub(super) fn forget(&mut self, path: &ProjectPath) {
        self.notes.remove(path);
    }

    /// Whether the agent has put a file there.
    pub(super) fn holds(&self, path: &ProjectPath) -> bool {
        self.notes.contains_key(path)
    }

    /// What a file with this stamp holds, as the agent put it there. One that was changed within the same tick of the
    /// clock, to the same size, looks the same: good for knowing that a file differs, never that it does not.
    pub(super) fn hash_of(&self, path: &ProjectPath, stamp: FileStamp) -> Option<ContentHash> {
        self.notes.get(path).filter(|note| note.stamp == Some(stamp)).and_then(|note| note.hash)
    }

    /// Paths at which a file stands, as far as is known.
    pub(super) fn present(&self) -> impl Iterator<Item = &ProjectPath> {
        self.notes.iter().filter(|(_, note)| note.hash.is_some()).map(|(path, _)| path)
    }

    /// The next paths in their order, from the beginning again after the last.
    fn next(&mut self) -> Vec<ProjectPath> {
        let from = self.looked.as_ref().map_or(Unbounded, Excluded);
        let paths: Vec<_> =
            self.notes.range((from, Unbounded)).take(LOOK_PATHS).map(|(path, _)| path.clone()).collect();
        self.looked = paths.last().filter(|_| paths.len() == LOOK_PATHS).cloned();
        paths
    }
}

impl Workspace {
    /// Of the next few paths those whose file has another stamp than noted. Nothing is read.
    pub fn changed_stamps(&mut self) -> Vec<ProjectPath> {
        let mut paths = self.stamps.next();
        paths.retain(|path| {
            let noted = self.stamps.notes.get(path).and_then(|note| note.stamp);
            // A symlink on the way leads to a file with another inode: no harm in a look.
            match rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => noted != Some(FileStamp::of(&stat)),
                Err(_) => noted.is_some(),
            }
        });
        paths
    }

    /// Reads the changed_stamps: those that hold something else than noted, and how many bytes were read. Each is told of once,
    /// until it changes again.
    pub fn read_changed(&mut self, changed_stamps: Vec<ProjectPath>) -> (Vec<LocalChange>, u64) {
        let mut changes = Vec::new();
        let mut bytes = 0;
        for path in changed_stamps {
            // What cannot be read now, or is just being written, stays a suspect.
            let Ok((stamp, hash)) = self.read_noted(&path) else { continue };
            bytes += stamp.map_or(0, |stamp| stamp.size());
            let Some(note) = self.stamps.notes.get_mut(&path) else { continue };
            note.stamp = stamp;
            if note.hash != hash {
                note.hash = hash;
                changes.push(LocalChange { path, hash });
            }
        }
        (changes, bytes)
    }

    fn read_noted(&self, path: &ProjectPath) -> Result<(Option<FileStamp>, Option<ContentHash>), Errno> {
        let (mut file, before) = match self.open_file(path) {
            // A symlink, a directory or a pipe is no file of the database either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                let stat = rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW);
                return Ok((stat.ok().map(|stat| FileStamp::of(&stat)), None));
            }
            other => other?,
        };
        let hash = apply::hash_of(&mut file).map_err(|_| Errno::IO)?;
        let after = FileStamp::of(&rustix::fs::fstat(&file)?);
        if after != FileStamp::of(&before) {
            return Err(Errno::AGAIN);
        }
        Ok((Some(after), Some(hash)))
    }
}
