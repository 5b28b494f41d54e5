//! What is at a path of the project now.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sync_core::{Content, ContentHash, ProjectPath};

use super::Workspace;
use super::hashing::{self, Cancel};
use super::parents::{self, Missing};
use crate::sync::files::FileStamp;

/// The file at a path, compared with new content.
pub(super) enum Current {
    /// It has exactly this content.
    Same(FileStamp),
    /// It has other content and this mode, or there is no file.
    Other { mode: Option<u32> },
}

impl Workspace {
    /// Compares the file at `path` with new content. A file that the agent wrote and that nothing has changed is not read.
    /// Any other file is read only where it has the size of the new content.
    pub(super) fn current(&self, path: &ProjectPath, content: &Content, hash: ContentHash) -> Result<Current, Errno> {
        // A link on the way leads to no file with a known stamp; reading is done by handle.
        let stat = rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if self.stamps.hash_of(path, FileStamp::of(&stat)).is_some_and(|known| known != hash) {
            return Ok(Current::Other { mode: Some(permissions(&stat)) });
        }
        let (mut file, stat) = match self.open_file(path) {
            Err(Errno::ISDIR) => return Ok(Current::Other { mode: None }),
            opened => opened?,
        };
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let is_same = match content {
            Content::Bytes(bytes) => size == bytes.len() as u64 && hashing::has_content(&mut file, bytes),
            Content::Staged(id) => {
                self.stage.size(*id) == Some(size)
                    && hashing::hash_file(&mut file, &Cancel::default()).is_ok_and(|current| current == Some(hash))
            }
        };
        Ok(if is_same {
            Current::Same(FileStamp::of(&stat))
        } else {
            Current::Other { mode: Some(permissions(&stat)) }
        })
    }

    /// Opens the regular file at `path`. A pipe is not waited for, and a link is not followed.
    ///
    /// # Errors
    /// `ISDIR` for a directory, a pipe or a device; `LOOP` for a link.
    pub(super) fn open_file(&self, path: &ProjectPath) -> Result<(File, Stat), Errno> {
        let parent = parents::open_parent(self.root.as_fd(), path, Missing::Fail)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: OwnedFd = rustix::fs::openat(&parent, path.file_name(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), stat)),
            _ => Err(Errno::ISDIR),
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "a mode has 16 bits on macOS")]
fn permissions(stat: &Stat) -> u32 {
    stat.st_mode as u32 & 0o777
}
