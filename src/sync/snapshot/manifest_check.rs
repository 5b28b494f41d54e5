//! Compares the files with the manifest.

use std::collections::HashMap;

use sync_core::{ContentHash, Revision, Version};
use zip_stream::Manifest;

use super::ManifestFault;

/// The manifest's files that were not seen yet.
#[derive(Debug)]
pub(super) struct Expected {
    pub revision: Revision,
    pub snapshot_id: String,
    files: HashMap<Box<str>, Row>,
}

#[derive(Debug)]
struct Row {
    version: Version,
    hash: ContentHash,
    size: u64,
}

impl Expected {
    /// The manifest of a snapshot of `project_id`.
    pub fn parse(json: &[u8], project_id: &str) -> Result<Expected, ManifestFault> {
        #[derive(serde::Deserialize)]
        struct Format {
            format: u64,
        }
        let malformed = |error: serde_json::Error| ManifestFault::Malformed(error.to_string());
        // Checked first: everything may differ in another format.
        let Format { format } = serde_json::from_slice(json).map_err(malformed)?;
        if format != 1 {
            return Err(ManifestFault::Format(format));
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(malformed)?;
        if !manifest.project_id.eq_ignore_ascii_case(project_id) {
            return Err(ManifestFault::Project(manifest.project_id.chars().take(80).collect()));
        }
        let mut files = HashMap::with_capacity(manifest.files.len());
        for file in manifest.files {
            let Ok(hash) = ContentHash::parse(&file.content_hash) else {
                return Err(ManifestFault::Hash(file.file_path));
            };
            let row = Row { version: file.version, hash, size: file.size };
            if files.insert(file.file_path.as_str().into(), row).is_some() {
                return Err(ManifestFault::Duplicate(file.file_path));
            }
        }
        Ok(Expected { revision: manifest.revision, snapshot_id: manifest.snapshot_id, files })
    }

    /// Checks that the manifest names `path`; no other file may be written.
    pub fn names(&self, path: &str) -> Result<(), ManifestFault> {
        if self.files.contains_key(path) { Ok(()) } else { Err(ManifestFault::Extra(path.to_owned())) }
    }

    /// Checks a file that was read, and returns its version.
    pub fn take(&mut self, path: &str, size: u64, found: ContentHash) -> Result<Version, ManifestFault> {
        let row = self.files.remove(path).ok_or_else(|| ManifestFault::Extra(path.to_owned()))?;
        let path = || path.to_owned();
        if row.size != size {
            return Err(ManifestFault::Size { path: path(), recorded: row.size, found: size });
        }
        if row.hash != found {
            return Err(ManifestFault::Digest { path: path(), recorded: row.hash, found });
        }
        Ok(row.version)
    }

    /// Checks that every file was there.
    pub fn finish(&self) -> Result<(), ManifestFault> {
        match self.files.keys().min() {
            Some(path) => Err(ManifestFault::Missing(path.to_string(), self.files.len().saturating_sub(1))),
            None => Ok(()),
        }
    }
}
