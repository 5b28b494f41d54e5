//! The buckets of storage and the names of their objects.

/// The bucket of binary files.
pub const ASSETS: &str = "project-assets";
/// The bucket of snapshots.
pub const SNAPSHOTS: &str = "project-snapshots";

/// The full name of a binary file's object: bucket, project, hash.
pub fn asset_name(project_id: &str, hash: &str) -> String {
    format!("{ASSETS}/{project_id}/{hash}")
}
