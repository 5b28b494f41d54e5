//! A batch of operations: everything is staged, then everything is renamed, in the order that the core gave.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sync_core::{Content, ContentHash, Op, OpResult, Outcome, PendingReason, ProjectPath};

use super::parents::Missing;
use super::stage::Staged;
use super::{Workspace, parents};
use crate::sync::files::FileStamp;

/// Files up to this size are compared in one read.
const COMPARE_BUFFER: usize = 64 * 1024;

/// One operation between staging and its rename.
enum Prepared {
    Failed(Outcome),
    /// Exactly that stands there.
    Same(FileStamp, ContentHash),
    Rename {
        staged: Staged,
        bytes: u64,
        stamp: FileStamp,
        hash: ContentHash,
    },
    Delete,
    /// The file there is another path's: this one has none.
    Nothing,
}

impl Workspace {
    /// Carries out a batch; the answer has one entry an operation, in its order. One that fails does not stop the rest.
    pub fn apply(&mut self, ops: Vec<Op>) -> Vec<OpResult> {
        let clashes = self.clashes(&ops);
        let prepare = |op: &Op| if clashes.contains(Op::path(op)) { self.clash(op) } else { self.prepare(op) };
        let prepared: Vec<_> = ops.iter().map(prepare).collect();
        if let Err(error) = self.record(&ops, &prepared) {
            return ops
                .iter()
                .map(|op| OpResult { path: op.path().clone(), outcome: failed(op.path(), "record", &error) })
                .collect();
        }
        let mut outcomes: Vec<_> =
            ops.iter().zip(&prepared).map(|(op, prepared)| self.carry_out(op.path(), prepared)).collect();
        // A file that becomes a directory (or the other way round) finds its place only once the batch's deletes are done.
        for (at, op) in ops.iter().enumerate() {
            if matches!(
                &outcomes[at],
                Outcome::Failed { reason: PendingReason::IsADirectory | PendingReason::NotADirectory, .. }
            ) {
                outcomes[at] = self.carry_out(op.path(), &prepared[at]);
            }
        }
        for (outcome, prepared) in outcomes.iter().zip(prepared) {
            if let (Outcome::Failed { .. }, Prepared::Rename { staged, .. }) = (outcome, prepared) {
                // The core sends it again.
                self.stage.remove(staged);
            }
        }
        let gone = ops.iter().zip(&outcomes).filter(|(op, outcome)| is_gone(op, outcome)).map(|(op, _)| op.path());
        if let Err(error) = self.owned.remove(gone) {
            tracing::warn!(event_type = "state_not_kept", %error, "a delete is not recorded: {error}");
        }
        ops.iter().zip(outcomes).map(|(op, outcome)| OpResult { path: op.path().clone(), outcome }).collect()
    }

    /// Records what is about to be made as owned, so that a crash between two renames leaves nothing unknown.
    fn record(&mut self, ops: &[Op], prepared: &[Prepared]) -> io::Result<()> {
        let made = ops
            .iter()
            .zip(prepared)
            .filter(|(_, prepared)| !matches!(prepared, Prepared::Delete | Prepared::Nothing | Prepared::Failed(_)));
        self.owned.add(made.map(|(op, _)| op.path()))
    }

    /// On a disk that folds case, another path's file stands at this one's place.
    fn clash(&self, op: &Op) -> Prepared {
        let Op::Write { path, content, .. } = op else { return Prepared::Nothing };
        if let Content::Staged(id) = content {
            self.stage.discard(*id);
        }
        let error =
            format!("cannot write {path}: this disk takes it for another file, whose name differs only in case");
        Prepared::Failed(Outcome::Failed { reason: PendingReason::CaseConflict, error })
    }

    fn prepare(&self, op: &Op) -> Prepared {
        let Op::Write { path, content, hash, .. } = op else { return Prepared::Delete };
        let standing = match self.standing(path, content, *hash) {
            Ok(Standing::Same(stamp)) => {
                if let Content::Staged(id) = content {
                    self.stage.discard(*id);
                }
                return Prepared::Same(stamp, *hash);
            }
            Ok(Standing::Other(mode)) => mode,
            // Whatever is wrong with the place shows when the file is renamed to it.
            Err(_) => None,
        };
        let staged = match content {
            Content::Bytes(bytes) => self.stage_bytes(bytes, standing),
            Content::Staged(id) => self.staged(*id, standing),
        };
        match staged {
            Ok((staged, bytes, stamp)) => Prepared::Rename { staged, bytes, stamp, hash: *hash },
            Err(error) => Prepared::Failed(failed(path, "stage", &error)),
        }
    }

    fn stage_bytes(&self, bytes: &[u8], mode: Option<u32>) -> io::Result<(Staged, u64, FileStamp)> {
        let (staged, mut file) = self.stage.create_unnamed()?;
        match file.write_all(bytes).and_then(|()| self.finish(&file, mode)) {
            Ok(stamp) => Ok((staged, bytes.len() as u64, stamp)),
            Err(error) => {
                self.stage.remove(staged);
                Err(error)
            }
        }
    }

    fn staged(&self, id: sync_core::StageId, mode: Option<u32>) -> io::Result<(Staged, u64, FileStamp)> {
        let staged = self.stage.take(id).ok_or_else(|| io::Error::other("the staged file is gone"))?;
        let file = self.stage.open_staged(&staged)?;
        let stamp = self.finish(&file, mode)?;
        Ok((staged, file.metadata()?.len(), stamp))
    }

    /// Gives a staged file its mode and its owner, in this order: a file of another user's takes another right to change.
    fn finish(&self, file: &File, mode: Option<u32>) -> io::Result<FileStamp> {
        keep_mode(file, mode)?;
        self.user.as_ref().map_or(Ok(()), |user| user.own(file))?;
        stamp_of(file)
    }

    fn carry_out(&mut self, path: &ProjectPath, prepared: &Prepared) -> Outcome {
        match prepared {
            Prepared::Failed(outcome) => outcome.clone(),
            Prepared::Nothing => Outcome::Unchanged,
            Prepared::Same(stamp, hash) => {
                self.stamps.put(path.clone(), *stamp, *hash);
                Outcome::Unchanged
            }
            Prepared::Rename { staged, bytes, stamp, hash } => match self.rename(staged, path) {
                Ok((created, after)) => {
                    let stamp = after.map_or(*stamp, |after| stamp.renamed(after));
                    self.stamps.put(path.clone(), stamp, *hash);
                    Outcome::Changed { created, bytes: *bytes }
                }
                Err(error) => failed(path, "write", &error.into()),
            },
            Prepared::Delete => match self.delete(path) {
                Ok(deleted) => {
                    self.stamps.forget(path);
                    if deleted { Outcome::Changed { created: false, bytes: 0 } } else { Outcome::Unchanged }
                }
                Err(error) => failed(path, "delete", &error.into()),
            },
        }
    }

    /// Whether the file is new, and its stamp. A symlink at the place is replaced, not followed.
    fn rename(&mut self, staged: &Staged, path: &ProjectPath) -> Result<(bool, Option<FileStamp>), Errno> {
        let parent = parents::parent(self.root.as_fd(), path, Missing::IsMade(self.user.as_ref()))?;
        let name = path.file_name();
        let created = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                // Only an empty one gives way; what is in another is not ours to delete.
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(|_| Errno::ISDIR)?;
                true
            }
            Ok(_) if self.quarantines_replaced && !self.stamps.holds(path) => {
                self.quarantine(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                false
            }
            Ok(_) => false,
            Err(Errno::NOENT) => true,
            Err(error) => return Err(error),
        };
        self.stage.rename(staged, &parent, name)?;
        let after = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        Ok((created, after.map(|stat| FileStamp::of(&stat))))
    }

    /// Whether there was something to delete.
    fn delete(&self, path: &ProjectPath) -> Result<bool, Errno> {
        let parent = match parents::parent(self.root.as_fd(), path, Missing::Fails) {
            // A file or symlink where a directory was means that the path does not exist.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            other => other?,
        };
        let name = path.file_name();
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A directory is no file of the database: what is in it stays.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(false),
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
            Ok(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
        }
        parents::prune(self.root.as_fd(), path);
        Ok(true)
    }

    /// What stands at `path` now: exactly the content that is to be written, or something else with this mode.
    #[allow(clippy::unnecessary_cast, reason = "a mode has 16 bits on macOS")]
    fn standing(&self, path: &ProjectPath, content: &Content, hash: ContentHash) -> Result<Standing, Errno> {
        // A symlink on the way leads to no file that is stamps: what counts is still opened by handle.
        let stat = rustix::fs::statat(self.root.as_fd(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if self.stamps.hash_of(path, FileStamp::of(&stat)).is_some_and(|known| known != hash) {
            return Ok(Standing::Other(Some(stat.st_mode as u32 & 0o777)));
        }
        let (mut file, stat) = match self.open_file(path) {
            Err(Errno::ISDIR) => return Ok(Standing::Other(None)),
            other => other?,
        };
        let same = match content {
            Content::Bytes(bytes) => stat.st_size as usize == bytes.len() && holds(&mut file, bytes),
            Content::Staged(_) => hash_of(&mut file).is_ok_and(|standing| standing == hash),
        };
        Ok(if same { Standing::Same(FileStamp::of(&stat)) } else { Standing::Other(Some(stat.st_mode as u32 & 0o777)) })
    }

    /// The regular file at `path` and what the system says of it; `ISDIR` for anything else that can be opened.
    pub(super) fn open_file(&self, path: &ProjectPath) -> Result<(File, Stat), Errno> {
        let parent = parents::parent(self.root.as_fd(), path, Missing::Fails)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: OwnedFd = rustix::fs::openat(&parent, path.file_name(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), stat)),
            _ => Err(Errno::ISDIR),
        }
    }
}

fn is_gone(op: &Op, outcome: &Outcome) -> bool {
    matches!(op, Op::Delete { .. }) && !matches!(outcome, Outcome::Failed { .. })
}

enum Standing {
    Same(FileStamp),
    Other(Option<u32>),
}

fn stamp_of(file: &File) -> io::Result<FileStamp> {
    Ok(FileStamp::of(&rustix::fs::fstat(file)?))
}

/// A script stays executable when its text changes.
fn keep_mode(file: &File, mode: Option<u32>) -> io::Result<()> {
    match mode {
        Some(mode) if mode & 0o111 != 0 => file.set_permissions(Permissions::from_mode(mode)),
        _ => Ok(()),
    }
}

fn holds(file: &mut File, bytes: &[u8]) -> bool {
    let mut buffer = vec![0; bytes.len().clamp(1, COMPARE_BUFFER)];
    let mut rest = bytes;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return rest.is_empty(),
            Ok(n) if rest.starts_with(&buffer[..n]) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

pub(super) fn hash_of(file: &mut File) -> io::Result<ContentHash> {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COMPARE_BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(ContentHash::from_bytes(hasher.finalize().into())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn failed(path: &ProjectPath, operation: &str, error: &io::Error) -> Outcome {
    let reason = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => PendingReason::NoSpace,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => PendingReason::PermissionDenied,
        Some(Errno::ISDIR) => PendingReason::IsADirectory,
        Some(Errno::NOTDIR | Errno::LOOP | Errno::EXIST) => PendingReason::NotADirectory,
        _ => PendingReason::Io,
    };
    Outcome::Failed { reason, error: format!("cannot {operation} {path}: {error}") }
}
