use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sync_core::rules::snapshot_rank;
use zip_stream::{SnapshotFile, SnapshotInfo, WriteError, write_snapshot};

use super::objects::ObjectInfo;
use super::{Store, StoreKind};
use crate::digest::ProjectDigest;
use crate::row::Head;
use crate::store_error::StoreError;

/// Snapshots that are kept for URLs that were given out; older ones are answered as missing.
const KEPT: usize = 4;
/// Files that a refusal names.
const NAMED: usize = 5;
/// Hex digits of the digest in a snapshot's name.
const DIGEST_DIGITS: usize = 32;

/// The reason for which there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot read the project: {0}")]
    Read(StoreError),
    #[error("cannot write the zip: {0}")]
    Write(WriteError),
    #[error("the snapshot is larger than {limit} bytes; the largest files: {}", named(largest))]
    TooLarge { limit: usize, bytes: usize, largest: Vec<FileSize> },
    #[error("cannot store the snapshot: {0}")]
    Store(StoreError),
}

/// Path and size of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSize {
    pub path: String,
    /// Bytes.
    pub size: u64,
}

fn named(files: &[FileSize]) -> String {
    let files: Vec<String> = files.iter().map(|file| format!("{} ({} bytes)", file.path, file.size)).collect();
    files.join(", ")
}

/// Whether an existing snapshot of the current state may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotRequest {
    Reuse,
    /// A new snapshot under a new name.
    Rebuild,
}

/// A snapshot that can be downloaded.
pub struct Built {
    /// The name within the bucket.
    pub name: String,
    pub revision: u64,
    /// Its bytes, if it was built now.
    pub built_bytes: Option<usize>,
}

/// The bucket `project-snapshots`, as far as the backend fills it itself.
pub struct Snapshots {
    store: Store,
    project_id: String,
    /// Largest snapshot in bytes.
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// In the order in which they were built.
    snapshots: Vec<Snapshot>,
    /// The state of the newest one.
    state: Option<Head>,
    rebuilds: u64,
}

struct Snapshot {
    name: String,
    zip: Bytes,
}

struct NewSnapshot {
    state: Head,
    zip: Bytes,
}

impl Snapshots {
    pub fn new(store: Store, project_id: &str, limit: usize) -> Snapshots {
        Snapshots { store, project_id: project_id.into(), limit, kept: Mutex::default() }
    }

    /// The object `<project_id>/<revision>-<digest>.zip` of the current state, built if it does not exist. Blocks.
    ///
    /// # Errors
    /// The project cannot be read, or its snapshot is too large.
    pub fn current(&self, request: SnapshotRequest) -> Result<Built, SnapshotError> {
        let mut kept = self.lock();
        let head = self.store.head();
        if let (SnapshotRequest::Reuse, Some(newest), true) =
            (request, kept.snapshots.last(), kept.state.as_ref() == Some(&head))
        {
            return Ok(Built { name: newest.name.clone(), revision: head.revision, built_bytes: None });
        }
        let NewSnapshot { state, zip } = build(&self.store, &self.project_id, self.limit)?;
        let digest = state.digest.get(..DIGEST_DIGITS).unwrap_or(&state.digest);
        let mut name = format!("{}/{}-{digest}", self.project_id, state.revision);
        if request == SnapshotRequest::Rebuild {
            kept.rebuilds = kept.rebuilds.saturating_add(1);
            name += &format!("-{}", kept.rebuilds);
        }
        name += ".zip";
        let built = Built { name: name.clone(), revision: state.revision, built_bytes: Some(zip.len()) };
        if let StoreKind::Postgres(postgres) = &self.store.0 {
            postgres.keep_snapshot(&name, zip.clone()).map_err(SnapshotError::Store)?;
        }
        kept.state = Some(state);
        kept.snapshots.retain(|snapshot| snapshot.name != name);
        kept.snapshots.push(Snapshot { name, zip });
        if kept.snapshots.len() > KEPT {
            kept.snapshots.remove(0);
        }
        Ok(built)
    }

    /// The kept snapshots, the newest first, with their names within the bucket.
    pub fn list(&self) -> Vec<ObjectInfo> {
        let info = |snapshot: &Snapshot| ObjectInfo { name: snapshot.name.clone(), size: snapshot.zip.len() };
        self.lock().snapshots.iter().rev().map(info).collect()
    }

    /// Removes the snapshots with these names.
    pub fn remove(&self, names: &[String]) {
        let mut kept = self.lock();
        let newest = kept.snapshots.last().map(|snapshot| snapshot.name.clone());
        kept.snapshots.retain(|snapshot| !names.contains(&snapshot.name));
        if kept.snapshots.last().map(|snapshot| &snapshot.name) != newest.as_ref() {
            kept.state = None;
        }
    }

    /// The zip with this name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.lock().snapshots.iter().find(|snapshot| snapshot.name == name).map(|snapshot| snapshot.zip.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(store: &Store, project_id: &str, limit: usize) -> Result<NewSnapshot, SnapshotError> {
    let state = store.state().map_err(SnapshotError::Read)?;
    let mut digest = ProjectDigest::default();
    for row in &state.files {
        digest.toggle(&row.path, row.version, row.content_hash.as_deref().unwrap_or_default());
    }
    let mut zip = Vec::new();
    let info = SnapshotInfo { project_id, revision: state.revision, created_at: None };
    let files = state
        .files
        .into_iter()
        .filter_map(|row| Some(SnapshotFile { path: row.path, bytes: row.bytes?, version: row.version }));
    let manifest = write_snapshot(&mut zip, info, files, snapshot_rank).map_err(SnapshotError::Write)?;
    if zip.len() > limit {
        let sizes = manifest.files.into_iter().map(|file| FileSize { path: file.file_path, size: file.size });
        let mut largest: Vec<FileSize> = sizes.collect();
        largest.sort_by_key(|file| std::cmp::Reverse(file.size));
        largest.truncate(NAMED);
        return Err(SnapshotError::TooLarge { limit, bytes: zip.len(), largest });
    }
    Ok(NewSnapshot { state: Head { revision: state.revision, digest: digest.to_string() }, zip: zip.into() })
}
