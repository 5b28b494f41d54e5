//! A folder written as a snapshot.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use sync_core::ProjectPath;
use zip_stream::{About, Limits, WriteError, write_snapshot};

use super::walk::{self, TEMPORARY, WalkError};

/// Why no snapshot was built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BuildError {
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

impl BuildError {
    /// Whether the snapshot could not be written, as opposed to a folder that cannot become one.
    pub fn is_disk(&self) -> bool {
        matches!(self, BuildError::Write(..) | BuildError::Zip(WriteError::Io(_)))
    }
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The project's folder.
    pub dir: PathBuf,
    /// The zip file to write.
    pub out: PathBuf,
    /// The project's UUID, for the manifest.
    pub project_id: String,
    /// The revision of this state, for the manifest.
    pub revision: u64,
    /// The manifest's `created_at` in seconds since 1970; 1980-01-01 where there is none.
    pub created_at: Option<u64>,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltSnapshot {
    /// The number of files in it, without the manifest.
    pub files: usize,
    /// The size of the zip file in bytes.
    pub bytes: u64,
    /// The sha256 of the sorted listing, as in the manifest.
    pub snapshot_id: String,
}

/// Writes the snapshot of a folder. The zip file appears complete or not at all. Every file has version 1, since a
/// folder has no versions.
///
/// # Errors
/// The folder cannot be a snapshot, or the file cannot be written ([`BuildError::is_disk`]).
pub fn build(request: &BuildRequest) -> Result<BuiltSnapshot, BuildError> {
    let files = read_all(&request.dir, &request.out)?;
    let about = About { project_id: &request.project_id, revision: request.revision, created_at: request.created_at };
    let failed = |error| BuildError::Write(request.out.clone(), error);

    let temporary = Temporary::beside(&request.out).map_err(failed)?;
    let files = files.iter().map(|(path, bytes)| (path.as_str(), bytes, 1));
    let manifest = write_snapshot(BufWriter::new(&temporary.file), about, files)?;
    let size = temporary.file.metadata().map_err(failed)?.len();
    let allowed = Limits::default().compressed;
    if size > allowed {
        return Err(BuildError::TooLargeZip(size, allowed));
    }
    temporary.rename_to(&request.out).map_err(failed)?;
    Ok(BuiltSnapshot { files: manifest.files.len(), bytes: size, snapshot_id: manifest.snapshot_id })
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
