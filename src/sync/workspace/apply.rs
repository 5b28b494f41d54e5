//! Applies a batch of operations: first everything is staged, then everything is renamed, in the core's order.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use sync_core::{Content, ContentHash, Op, OpResult, Outcome, PendingReason, ProjectPath, StageId};

use super::current::Current;
use super::parents::{self, Missing};
use super::stage::Staged;
use super::{Replaced, Workspace};
use crate::sync::file_modes::mode_for;
use crate::sync::files::FileStamp;

/// An operation after staging.
enum Prepared {
    Failed(Outcome),
    /// The file has this content already.
    Unchanged {
        stamp: FileStamp,
        hash: ContentHash,
    },
    Rename(Ready),
    Delete,
    /// The file at this name belongs to another path, so this path has none to delete.
    NothingToDelete,
}

/// A staged file with its final mode and owner.
struct Ready {
    staged: Staged,
    bytes: u64,
    stamp: FileStamp,
    hash: ContentHash,
}

/// A file that was renamed to its place.
struct Placed {
    /// Whether there was no file before.
    created: bool,
    stamp: Option<FileStamp>,
}

impl Workspace {
    /// Applies a batch. Returns one result for each operation, in their order. A failed operation does not stop the others.
    pub fn apply(&mut self, ops: Vec<Op>) -> Vec<OpResult> {
        let conflicts = self.case_conflicts(&ops);
        let prepare = |op: &Op| if conflicts.contains(op.path()) { self.case_conflict(op) } else { self.prepare(op) };
        let prepared: Vec<_> = ops.iter().map(prepare).collect();
        if let Err(error) = self.record(&ops, &prepared) {
            let failure = |op: &Op| OpResult { path: op.path().clone(), outcome: failed(op.path(), "record", &error) };
            return ops.iter().map(failure).collect();
        }
        let mut outcomes: Vec<_> =
            ops.iter().zip(&prepared).map(|(op, prepared)| self.place(op.path(), prepared)).collect();
        // A file in the place of a directory, or the reverse, may have been deleted later in the batch.
        for ((op, prepared), outcome) in ops.iter().zip(&prepared).zip(&mut outcomes) {
            use PendingReason::{IsADirectory, NotADirectory};
            if matches!(outcome, Outcome::Failed { reason: IsADirectory | NotADirectory, .. }) {
                *outcome = self.place(op.path(), prepared);
            }
        }
        for (outcome, prepared) in outcomes.iter().zip(prepared) {
            if let (Outcome::Failed { .. }, Prepared::Rename(ready)) = (outcome, prepared) {
                // The core sends the operation again.
                self.stage.remove(ready.staged);
            }
        }
        let gone = ops.iter().zip(&outcomes).filter(|(op, outcome)| is_gone(op, outcome)).map(|(op, _)| op.path());
        if let Err(error) = self.owned.remove(gone) {
            tracing::warn!(event_type = "state_not_kept", %error, "cannot record a delete in STATE_DIR: {error}");
        }
        ops.iter().zip(outcomes).map(|(op, outcome)| OpResult { path: op.path().clone(), outcome }).collect()
    }

    /// Records the files that are about to be created as owned, so that a crash between two renames leaves no unknown file.
    fn record(&mut self, ops: &[Op], prepared: &[Prepared]) -> io::Result<()> {
        let is_write = |prepared: &Prepared| matches!(prepared, Prepared::Unchanged { .. } | Prepared::Rename(_));
        let written = ops.iter().zip(prepared).filter(|(_, prepared)| is_write(prepared));
        self.owned.add(written.map(|(op, _)| op.path()))
    }

    /// On a disk that folds case, the file at this name belongs to another path.
    fn case_conflict(&self, op: &Op) -> Prepared {
        let Op::Write { path, content, .. } = op else { return Prepared::NothingToDelete };
        if let Content::Staged(id) = content {
            self.stage.discard(*id);
        }
        let error =
            format!("cannot write {path}: on this disk it has the same name as a file that differs only in case");
        Prepared::Failed(Outcome::Failed { reason: PendingReason::CaseConflict, error })
    }

    fn prepare(&self, op: &Op) -> Prepared {
        let Op::Write { path, content, hash, .. } = op else { return Prepared::Delete };
        // Whatever is wrong at the path fails again, with its reason, when the file is renamed.
        let current = self.current(path, content, *hash).unwrap_or(Current::Other { mode: None });
        let mode = match current {
            Current::Same(stamp) => {
                if let Content::Staged(id) = content {
                    self.stage.discard(*id);
                }
                return Prepared::Unchanged { stamp, hash: *hash };
            }
            Current::Other { mode } => mode,
        };
        let mode = self.modes.as_ref().and_then(|modes| modes.of(path)).or(mode);
        let ready = match content {
            Content::Bytes(bytes) => self.stage_bytes(bytes, *hash, mode),
            Content::Staged(id) => self.take_staged(*id, *hash, mode),
        };
        ready.map_or_else(|error| Prepared::Failed(failed(path, "stage", &error)), Prepared::Rename)
    }

    fn stage_bytes(&self, bytes: &[u8], hash: ContentHash, mode: Option<u32>) -> io::Result<Ready> {
        let (staged, mut file) = self.stage.create_unnamed()?;
        let mode = mode_for(mode, bytes);
        match file.write_all(bytes).and_then(|()| self.set_mode_and_owner(&file, mode)) {
            Ok(stamp) => Ok(Ready { staged, bytes: bytes.len() as u64, stamp, hash }),
            Err(error) => {
                self.stage.remove(staged);
                Err(error)
            }
        }
    }

    fn take_staged(&self, id: StageId, hash: ContentHash, mode: Option<u32>) -> io::Result<Ready> {
        let staged = self.stage.take(id).ok_or_else(|| io::Error::other("the staged file does not exist any more"))?;
        let mut file = self.stage.open_staged(&staged)?;
        let mut beginning = Vec::new();
        (&mut file).take(2).read_to_end(&mut beginning)?;
        let stamp = self.set_mode_and_owner(&file, mode_for(mode, &beginning))?;
        Ok(Ready { staged, bytes: stamp.size(), stamp, hash })
    }

    /// The mode comes first: changing it later would take a capability that the agent does not need otherwise.
    fn set_mode_and_owner(&self, file: &File, mode: Option<u32>) -> io::Result<FileStamp> {
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        self.user.as_ref().map_or(Ok(()), |user| user.own(file))?;
        Ok(FileStamp::of(&rustix::fs::fstat(file)?))
    }

    fn place(&mut self, path: &ProjectPath, prepared: &Prepared) -> Outcome {
        match prepared {
            Prepared::Failed(outcome) => outcome.clone(),
            Prepared::NothingToDelete => Outcome::Unchanged,
            Prepared::Unchanged { stamp, hash } => {
                self.stamps.put(path.clone(), *stamp, *hash);
                Outcome::Unchanged
            }
            Prepared::Rename(ready) => match self.rename(&ready.staged, path) {
                Ok(Placed { created, stamp }) => {
                    let stamp = stamp.map_or(ready.stamp, |after| ready.stamp.renamed(after));
                    self.stamps.put(path.clone(), stamp, ready.hash);
                    Outcome::Changed { created, bytes: ready.bytes }
                }
                Err(error) => failed(path, "write", &error.into()),
            },
            Prepared::Delete => match self.delete(path) {
                Ok(outcome) => {
                    self.stamps.forget(path);
                    outcome
                }
                Err(error) => failed(path, "delete", &error.into()),
            },
        }
    }

    /// Renames a staged file to its place. A link there is replaced and not followed.
    fn rename(&mut self, staged: &Staged, path: &ProjectPath) -> Result<Placed, Errno> {
        let parent = parents::open_parent(self.root.as_fd(), path, Missing::Create(self.user.as_ref()))?;
        let name = path.file_name();
        let created = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                // Only an empty directory is removed: what is in it may be the project's own.
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(|_| Errno::ISDIR)?;
                true
            }
            Ok(_) if self.replaced == Replaced::Quarantine && !self.stamps.contains(path) => {
                self.quarantine(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                false
            }
            Ok(_) => false,
            Err(Errno::NOENT) => true,
            Err(error) => return Err(error),
        };
        self.stage.rename(staged, &parent, name)?;
        let after = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        Ok(Placed { created, stamp: after.map(|stat| FileStamp::of(&stat)) })
    }

    fn delete(&self, path: &ProjectPath) -> Result<Outcome, Errno> {
        let parent = match parents::open_parent(self.root.as_fd(), path, Missing::Fail) {
            // A file or a link in the place of a directory: the path does not exist.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Outcome::Unchanged),
            opened => opened?,
        };
        let name = path.file_name();
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A directory is no file of the database: it stays, and so does what is in it.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(Outcome::Unchanged),
            Err(Errno::NOENT) => return Ok(Outcome::Unchanged),
            Err(error) => return Err(error),
            Ok(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
        }
        parents::remove_empty_parents(self.root.as_fd(), path);
        Ok(Outcome::Changed { created: false, bytes: 0 })
    }
}

fn is_gone(op: &Op, outcome: &Outcome) -> bool {
    matches!(op, Op::Delete { .. }) && !matches!(outcome, Outcome::Failed { .. })
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
