use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sync_core::rules::snapshot_rank;
use zip_stream::{SnapshotFile, SnapshotInfo, WriteError, write_snapshot};

use crate::digest::ProjectDigest;
use crate::store::Store;
use crate::store_error::StoreError;

/// Snapshots kept for the URLs that were given out; older ones are answered as missing.
const KEPT: usize = 4;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the project was not read: {0}")]
    Read(#[from] StoreError),
    #[error("the zip was not written: {0}")]
    Write(#[from] WriteError),
    #[error("the snapshot is larger than {limit} bytes; the largest files: {}", named(largest))]
    TooLarge { limit: usize, bytes: usize, largest: Vec<(String, u64)> },
}

/// Files that a refusal names.
const NAMED: usize = 5;

fn named(files: &[(String, u64)]) -> String {
    let files: Vec<String> = files.iter().map(|(path, size)| format!("{path} ({size} bytes)")).collect();
    files.join(", ")
}

/// A snapshot that can be fetched.
pub struct Built {
    /// Within the bucket.
    pub name: String,
    pub revision: u64,
    /// Its bytes, where it had to be made.
    pub made: Option<usize>,
}

/// The bucket `project-snapshots`, as far as the backend fills it itself.
#[derive(Default)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// In the order in which they were made: name and zip.
    made: Vec<(String, Bytes)>,
    /// The newest one's revision and digest.
    state: Option<(u64, String)>,
    rebuilds: u64,
}

impl Snapshots {
    /// The object `<project_id>/<revision>-<digest>.zip` of the state now. Made anew where the state has moved, or where
    /// `rebuild` asks for another id.
    pub fn current(
        &self,
        store: &Store,
        project_id: &str,
        limit: usize,
        rebuild: bool,
    ) -> Result<Built, SnapshotError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let head = store.head();
        if let (Some((name, _)), false, true) = (kept.made.last(), rebuild, kept.state.as_ref() == Some(&head)) {
            return Ok(Built { name: name.clone(), revision: head.0, made: None });
        }
        let (state, zip) = build(store, project_id, limit)?;
        let (revision, digest) = &state;
        let mut name = format!("{project_id}/{revision}-{}", &digest[..32]);
        if rebuild {
            kept.rebuilds += 1;
            name += &format!("-{}", kept.rebuilds);
        }
        name += ".zip";
        let built = Built { name: name.clone(), revision: *revision, made: Some(zip.len()) };
        kept.state = Some(state);
        kept.made.retain(|(made, _)| *made != name);
        kept.made.push((name, zip));
        if kept.made.len() > KEPT {
            kept.made.remove(0);
        }
        Ok(built)
    }

    /// Names within the bucket, and sizes, the newest first.
    pub fn list(&self) -> Vec<(String, usize)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made.iter().rev().map(|(name, zip)| (name.clone(), zip.len())).collect()
    }

    /// Those of these names that are there go.
    pub fn remove(&self, names: &[String]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.made.last().map(|(name, _)| name.clone());
        kept.made.retain(|(name, _)| !names.contains(name));
        // What is last now is of another state.
        if kept.made.last().map(|(name, _)| name) != newest.as_ref() {
            kept.state = None;
        }
    }

    /// The zip of that name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made.iter().find(|(made, _)| made == name).map(|(_, zip)| zip.clone())
    }
}

/// The state now, its revision and digest, and its zip.
fn build(store: &Store, project_id: &str, limit: usize) -> Result<((u64, String), Bytes), SnapshotError> {
    let (revision, rows) = store.state()?;
    let mut digest = ProjectDigest::default();
    for row in &rows {
        digest.toggle(&row.path, row.version, row.content_hash.as_deref().unwrap_or_default());
    }
    let mut zip = Vec::new();
    let info = SnapshotInfo { project_id, revision, created_at: None };
    let files = rows
        .into_iter()
        .filter_map(|row| Some(SnapshotFile { path: row.path, bytes: row.bytes?, version: row.version }));
    let manifest = write_snapshot(&mut zip, info, files, snapshot_rank)?;
    if zip.len() > limit {
        let mut largest: Vec<(String, u64)> =
            manifest.files.into_iter().map(|file| (file.file_path, file.size)).collect();
        largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        largest.truncate(NAMED);
        return Err(SnapshotError::TooLarge { limit, bytes: zip.len(), largest });
    }
    Ok(((revision, digest.to_string()), zip.into()))
}
