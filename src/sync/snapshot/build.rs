//! A folder written as a snapshot.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sync_core::ProjectPath;
use zip_stream::{About, Limits, WriteError, write_snapshot};

use super::walk::{self, TEMPORARY, WalkError};
use crate::cli::arguments::SnapshotArgs;
use sync_core::error_chain;

use crate::cli::exit::Exit;

/// Why no snapshot was built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
enum BuildError {
    #[error("cannot take this folder as a project")]
    Walk(#[from] WalkError),
    #[error("the folder holds {0} files, more than the {1} of a snapshot")]
    TooMany(usize, u64),
    #[error("the folder's files are more than {limit} bytes together, too many for a snapshot, counted up to {}", .place.display())]
    TooLarge { limit: u64, place: PathBuf },
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the snapshot would be {0} bytes, more than the {1} that one may be")]
    TooLargeZip(u64, u64),
    #[error(transparent)]
    Zip(#[from] WriteError),
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Writes the snapshot of `args.dir` to `args.out`, which appears whole or not at all. Versions are 1: a folder has none.
///
/// # Errors
/// A folder that cannot be a snapshot (69) and a file that cannot be written (74).
pub fn write(args: &SnapshotArgs) -> Exit {
    match build(args) {
        Ok((files, bytes, id)) => {
            let out = args.out.display();
            // A reader that has gone away does not make the snapshot any worse.
            let _ = writeln!(std::io::stdout(), "wrote {out}: {files} files, {bytes} bytes, snapshot {id}");
            Exit::fine()
        }
        Err(error @ (BuildError::Write(..) | BuildError::Zip(WriteError::Io(_)))) => Exit::disk(error_chain(&error)),
        Err(error) => Exit::unavailable(error_chain(&error)),
    }
}

/// How many files went in, how many bytes came out, and the snapshot's id.
fn build(args: &SnapshotArgs) -> Result<(usize, u64, String), BuildError> {
    let files = read_all(&args.dir, &args.out)?;
    let project_id = args.project_id.to_string();
    let about = About { project_id: &project_id, revision: args.revision, created_at: args.source_date_epoch };
    let failed = |error| BuildError::Write(args.out.clone(), error);

    let temporary = Temporary::beside(&args.out).map_err(failed)?;
    let files = files.iter().map(|(path, bytes)| (path.as_str(), bytes, 1));
    let manifest = write_snapshot(BufWriter::new(&temporary.file), about, files)?;
    let size = temporary.file.metadata().map_err(failed)?.len();
    let allowed = Limits::default().compressed;
    if size > allowed {
        return Err(BuildError::TooLargeZip(size, allowed));
    }
    temporary.rename_to(&args.out).map_err(failed)?;
    Ok((manifest.files.len(), size, manifest.snapshot_id))
}

/// The bytes of every file but `out` itself, which may lie in the folder from the last time.
fn read_all(dir: &Path, out: &Path) -> Result<Vec<(ProjectPath, Vec<u8>)>, BuildError> {
    let limits = Limits::default();
    let found = walk::walk(dir)?;
    // The manifest is an entry, too.
    if found.len() as u64 >= limits.entries {
        return Err(BuildError::TooMany(found.len(), limits.entries));
    }
    let out = out.canonicalize().ok();
    let mut left = limits.expanded;
    let mut files = Vec::with_capacity(found.len());
    for (path, place) in found {
        if out.is_some() && place.canonicalize().ok() == out {
            continue;
        }
        let mut bytes = Vec::new();
        let read = File::open(&place).and_then(|file| file.take(left + 1).read_to_end(&mut bytes));
        read.map_err(|error| BuildError::Read(place.clone(), error))?;
        left = left.checked_sub(bytes.len() as u64).ok_or(BuildError::TooLarge { limit: limits.expanded, place })?;
        files.push((path, bytes));
    }
    Ok(files)
}

/// A new file beside its final place, removed unless it gets there.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(place: &Path) -> io::Result<Temporary> {
        let name = place.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let name = format!("{TEMPORARY}{}-{}", std::process::id(), name.to_string_lossy());
        let path = place.with_file_name(name);
        Ok(Temporary { file: File::create(&path)?, path })
    }

    fn rename_to(self, place: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, place)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing stands there once it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}
