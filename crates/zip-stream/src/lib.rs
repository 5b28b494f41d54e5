//! Reads any ordinary zip forwards while it arrives, and writes reproducible ones.
//!
//! [`Archive`] takes the bytes as they come, in whatever cuts, and gives entry after entry. What the local headers said
//! is compared with the central directory once that arrives: only after [`Archive::next_entry`] has given `None`, or
//! [`Archive::finish`] has succeeded, does anything that was read count. Stored or deflated, with or without data
//! descriptors, zip64 or not, all is taken that ordinary tools write; everything else is refused by a [`Fault`] of its
//! own. An archive that two readers could understand in two ways is refused as well.
//!
//! [`write_snapshot`] is the other direction: the same files give the same bytes.

mod archive;
mod byte_source;
mod directory;
mod entry;
mod error;
mod limits;
mod manifest;
mod name;
mod record;
mod spool;
mod write;

pub use archive::Archive;
pub use directory::Listed;
pub use entry::Entry;
pub use error::{Fault, Rejected, ZipError};
pub use limits::Limits;
pub use manifest::{MANIFEST, Manifest, ManifestFile, snapshot_id};
pub use write::{SnapshotFile, SnapshotInfo, WriteError, write_snapshot};
