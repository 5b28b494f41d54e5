//! Reads any ordinary zip forwards while it arrives, and writes reproducible ones.

mod limits;
mod manifest;
mod write;

pub use limits::Limits;
pub use manifest::{MANIFEST, Manifest, ManifestFile, snapshot_id};
pub use write::{About, WriteError, write_snapshot};
