//! Reads any ordinary zip forwards while it arrives, and writes reproducible ones.
//!
//! [`Archive`] takes the bytes in pieces of any size and returns one entry after the other. The central directory comes last
//! and is compared with the local headers: what was read is valid only after [`Archive::next_entry`] has returned `None`, or
//! [`Archive::finish`] has succeeded. Archives of ordinary tools are read, stored or deflated, with or without data
//! descriptors and zip64. Anything else is refused with a specific [`Fault`], and so is an archive that two readers could
//! understand differently.
//!
//! [`write_snapshot`] writes: the same files give the same bytes.
// What comes from the network, an archive or the project must not end the agent: it is built to abort at a panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

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
