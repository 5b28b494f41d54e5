use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use sync_core::{ContentHash, PathError};
use zip_stream::{Fault, Rejected, ZipError};

/// Why the snapshot could not be extracted. No message contains the URL.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SnapshotError {
    #[error("the snapshot's URL is not an http or https URL")]
    Url,
    /// The URL is not valid any more; a new one is needed.
    #[error("the snapshot's URL was refused with {status}: {body}")]
    Renew { status: u16, body: String },
    #[error("the snapshot's URL has too many redirects")]
    Redirects,
    #[error("the snapshot's download failed after {attempts} attempts; the last one: {last}")]
    GaveUp { attempts: u32, last: String },
    #[error("the snapshot's download did not end within {} s", .0.as_secs())]
    Deadline(Duration),
    #[error("cannot read the snapshot {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),

    /// The archive is damaged. Downloading it again does not help; building a new snapshot may.
    #[error("the snapshot is damaged")]
    Archive(#[source] Rejected),
    #[error("the snapshot has an invalid path")]
    Path(#[source] PathError),
    #[error(
        "the snapshot has {0:?} twice, or both as a file and as a directory, or has another name that is equal on this disk"
    )]
    Clash(String),
    #[error("the snapshot's manifest is invalid")]
    Manifest(#[source] ManifestFault),

    /// The disk failed.
    #[error("cannot write the snapshot's files")]
    Stage(#[source] Box<dyn Error + Send + Sync>),
    #[error("cannot write the snapshot's file {path:?}")]
    Write { path: String, source: std::io::Error },
    /// The result is not needed any more.
    #[error("the extraction was stopped")]
    Stopped,
}

/// A fault of a manifest, or a difference between it and the files.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ManifestFault {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it is malformed: {0}")]
    Malformed(String),
    #[error("its format is {0}, not 1")]
    Format(u64),
    #[error("it is for another project, {0:?}")]
    Project(String),
    #[error("its hash of {0:?} is malformed")]
    Hash(String),
    #[error("it names {0:?} twice")]
    Duplicate(String),
    #[error("it names {0:?} and {1} more files that the snapshot does not contain")]
    Missing(String, usize),
    #[error("it does not name {0:?}, which the snapshot contains")]
    Extra(String),
    #[error("{path:?} has {found} bytes, but {recorded} in the manifest")]
    Size { path: String, recorded: u64, found: u64 },
    #[error("{path:?} has the hash {found}, but {recorded} in the manifest")]
    Digest { path: String, recorded: ContentHash, found: ContentHash },
}

impl SnapshotError {
    /// The directory to extract into cannot be used.
    pub fn stage(error: impl Error + Send + Sync + 'static) -> SnapshotError {
        SnapshotError::Stage(Box::new(error))
    }

    /// Whether the disk failed.
    pub fn is_disk(&self) -> bool {
        matches!(self, SnapshotError::Stage(_) | SnapshotError::Write { .. })
    }

    /// Whether the URL is not valid any more.
    pub fn is_expired(&self) -> bool {
        matches!(self, SnapshotError::Renew { .. })
    }

    /// Whether the snapshot itself is damaged, so that downloading it again does not help.
    pub fn is_damaged(&self) -> bool {
        use SnapshotError::{Archive, Clash, Manifest, Path};
        matches!(self, Archive(_) | Path(_) | Clash(_) | Manifest(_))
    }

    pub(super) fn is_truncated(&self) -> bool {
        matches!(self, SnapshotError::Archive(Rejected { fault: Fault::Truncated, .. }))
    }
}

impl From<ZipError> for SnapshotError {
    fn from(error: ZipError) -> SnapshotError {
        match error {
            ZipError::Rejected(rejected) => SnapshotError::Archive(rejected),
            ZipError::Spool(error) => SnapshotError::stage(error),
            // An error of a local file is wrapped by the reader.
            ZipError::Read { source, .. } => match source.downcast::<SnapshotError>() {
                Ok(error) => error,
                Err(error) => SnapshotError::stage(error),
            },
        }
    }
}

impl From<ManifestFault> for SnapshotError {
    fn from(fault: ManifestFault) -> SnapshotError {
        SnapshotError::Manifest(fault)
    }
}
