use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use sync_core::{ContentHash, PathError};
use zip_stream::{Fault, Rejected, ZipError};

/// Why there is no snapshot. The URL stands in none of these.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SnapshotError {
    #[error("the snapshot's URL is not an http or https URL")]
    Url,
    /// The URL is no longer good: a new one is needed.
    #[error("the snapshot's URL was refused with {status}: {body}")]
    Renew { status: u16, body: String },
    #[error("the snapshot's URL leads from redirect to redirect")]
    Redirects,
    #[error("the snapshot's download was given up after {attempts} attempts, the last of which failed: {last}")]
    GaveUp { attempts: u32, last: String },
    #[error("the snapshot's download was not done after {} s", .0.as_secs())]
    Deadline(Duration),
    #[error("cannot read the snapshot {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),

    /// The archive is not right: another copy will not be better, a snapshot built anew may be.
    #[error("the snapshot is damaged")]
    Archive(#[source] Rejected),
    #[error("the snapshot holds a path that no project has")]
    Path(#[source] PathError),
    #[error("the snapshot holds {0:?} twice, or as a file and as a directory, or as one that this disk takes for it")]
    Clash(String),
    #[error("the snapshot's manifest is wrong")]
    Manifest(#[source] ManifestFault),

    /// The machine's own fault.
    #[error("cannot write the snapshot's files")]
    Stage(#[source] Box<dyn Error + Send + Sync>),
    #[error("cannot write the snapshot's file {path:?}")]
    Write { path: String, source: std::io::Error },
    /// Nobody waits for the result any more.
    #[error("the extraction was stopped")]
    Stopped,
}

/// What can be wrong with a manifest, or with the files that it speaks of.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ManifestFault {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it cannot be read: {0}")]
    Malformed(String),
    #[error("its format is {0}, not 1")]
    Format(u64),
    #[error("it is another project's, {0:?}")]
    Project(String),
    #[error("the hash that it gives for {0:?} is none")]
    Hash(String),
    #[error("it names {0:?} twice")]
    Duplicate(String),
    #[error("it names {0:?}, and {1} more, which the snapshot does not hold")]
    Missing(String, usize),
    #[error("it does not name {0:?}, which the snapshot holds")]
    Extra(String),
    #[error("{path:?} has {found} bytes, and it says {recorded}")]
    Size { path: String, recorded: u64, found: u64 },
    #[error("{path:?} has the hash {found}, and it says {recorded}")]
    Digest { path: String, recorded: ContentHash, found: ContentHash },
}

impl SnapshotError {
    /// The directory to extract into could not be had.
    pub fn stage(error: impl Error + Send + Sync + 'static) -> SnapshotError {
        SnapshotError::Stage(Box::new(error))
    }

    /// The machine's disk failed.
    pub fn is_disk(&self) -> bool {
        matches!(self, SnapshotError::Stage(_) | SnapshotError::Write { .. })
    }

    /// The URL is no longer good.
    pub fn is_expired(&self) -> bool {
        matches!(self, SnapshotError::Renew { .. })
    }

    /// The snapshot itself is at fault, and would be so again.
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
            // Faults of a local file are told by the feed's own error, which this carries.
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
