//! `preview-agent snapshot`: writes a folder as a snapshot.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sync_core::rules::snapshot_rank;
use sync_core::{ProjectPath, error_chain};
use zip_stream::{Limits, SnapshotFile, SnapshotInfo, WriteError, write_snapshot};

use super::arguments::SnapshotArgs;
use super::exit::Exit;
use crate::sync::folder::{self, FolderError, TEMPORARY_PREFIX};

/// The version that every file gets: a folder has no versions.
const VERSION: u64 = 1;

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
enum SnapshotCommandError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the folder has {files} files, more than the {limit} that a snapshot may have")]
    TooManyFiles { files: usize, limit: u64 },
    #[error("the folder's files are larger together than {limit} bytes, the most that a snapshot may have (the limit was reached at {})", .location.display())]
    TooLarge { limit: u64, location: PathBuf },
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the snapshot would have {size} bytes, more than the {limit} that it may have")]
    ArchiveTooLarge { size: u64, limit: u64 },
    #[error(transparent)]
    Zip(#[from] WriteError),
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// What was written.
struct Summary {
    files: usize,
    bytes: u64,
    snapshot_id: String,
}

/// Writes the snapshot of `args.dir` to `args.out`, which appears whole or not at all. Exit status 69: the folder cannot
/// be a snapshot; 74: the file cannot be written.
pub fn run(args: &SnapshotArgs) -> Exit {
    match build(args) {
        Ok(Summary { files, bytes, snapshot_id }) => {
            let out = args.out.display();
            // A closed standard output does not make the snapshot invalid.
            let _ = writeln!(io::stdout(), "wrote {out}: {files} files, {bytes} bytes, snapshot {snapshot_id}");
            Exit::fine()
        }
        Err(error @ (SnapshotCommandError::Write(..) | SnapshotCommandError::Zip(WriteError::Io(_)))) => {
            Exit::disk(error_chain(&error))
        }
        Err(error) => Exit::unavailable(error_chain(&error)),
    }
}

fn build(args: &SnapshotArgs) -> Result<Summary, SnapshotCommandError> {
    let files = read_all(&args.dir, &args.out)?;
    let project_id = args.project_id.to_string();
    let info = SnapshotInfo { project_id: &project_id, revision: args.revision, created_at: args.source_date_epoch };
    let failed = |error| SnapshotCommandError::Write(args.out.clone(), error);

    let temporary = TemporaryFile::create_beside(&args.out).map_err(failed)?;
    let files = files.iter().map(|(path, bytes)| SnapshotFile { path: path.as_str(), bytes, version: VERSION });
    let manifest = write_snapshot(BufWriter::new(&temporary.file), info, files, snapshot_rank)?;
    let size = temporary.file.metadata().map_err(failed)?.len();
    let limit = Limits::default().compressed;
    if size > limit {
        return Err(SnapshotCommandError::ArchiveTooLarge { size, limit });
    }
    temporary.rename_to(&args.out).map_err(failed)?;
    Ok(Summary { files: manifest.files.len(), bytes: size, snapshot_id: manifest.snapshot_id })
}

/// The bytes of every file except `out`, which an earlier run may have written into the folder.
fn read_all(folder: &Path, out: &Path) -> Result<Vec<(ProjectPath, Vec<u8>)>, SnapshotCommandError> {
    let limits = Limits::default();
    let listed = folder::project_files(folder)?;
    // The manifest is an entry too.
    if listed.len() as u64 >= limits.entries {
        return Err(SnapshotCommandError::TooManyFiles { files: listed.len(), limit: limits.entries });
    }
    let out = out.canonicalize().ok();
    let mut left = limits.expanded;
    let mut files = Vec::with_capacity(listed.len());
    for file in listed {
        let location = file.location;
        if out.is_some() && location.canonicalize().ok() == out {
            continue;
        }
        let mut bytes = Vec::new();
        let read = File::open(&location).and_then(|file| file.take(left.saturating_add(1)).read_to_end(&mut bytes));
        read.map_err(|error| SnapshotCommandError::Read(location.clone(), error))?;
        let Some(rest) = left.checked_sub(bytes.len() as u64) else {
            return Err(SnapshotCommandError::TooLarge { limit: limits.expanded, location });
        };
        left = rest;
        files.push((file.path, bytes));
    }
    Ok(files)
}

/// A new file in the directory of its final name; removed again unless it is renamed.
struct TemporaryFile {
    path: PathBuf,
    file: File,
}

impl TemporaryFile {
    fn create_beside(location: &Path) -> io::Result<TemporaryFile> {
        let name = location.file_name().ok_or_else(|| io::Error::other("the path has no file name"))?;
        let name = format!("{TEMPORARY_PREFIX}{}-{}", std::process::id(), name.to_string_lossy());
        let path = location.with_file_name(name);
        Ok(TemporaryFile { file: File::create(&path)?, path })
    }

    fn rename_to(self, location: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, location)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}
