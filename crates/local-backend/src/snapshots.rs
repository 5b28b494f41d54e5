use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zip_stream::{About, WriteError, write_snapshot};

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
}

/// The bucket `project-snapshots`.
#[derive(Default)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// In the order in which they were made: name and zip.
    made: Vec<(String, Bytes)>,
    /// The newest one's revision.
    revision: Option<u64>,
    rebuilds: u64,
}

impl Snapshots {
    /// The object `<project_id>/<snapshot_id>.zip` of the state now. Made anew where the state has moved, or where
    /// `rebuild` asks for another id.
    pub fn current(&self, store: &Store, project_id: &str, rebuild: bool) -> Result<String, SnapshotError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, _) = store.head();
        if let (Some((name, _)), false, true) = (kept.made.last(), rebuild, kept.revision == Some(head)) {
            return Ok(name.clone());
        }
        let (id, zip, revision) = build(store, project_id)?;
        let mut name = format!("{project_id}/{id}.zip");
        if rebuild {
            kept.rebuilds += 1;
            name = format!("{project_id}/{id}-{}.zip", kept.rebuilds);
        }
        kept.revision = Some(revision);
        kept.made.retain(|(made, _)| *made != name);
        kept.made.push((name.clone(), zip));
        if kept.made.len() > KEPT {
            kept.made.remove(0);
        }
        Ok(name)
    }

    /// The zip of that name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made.iter().find(|(made, _)| made == name).map(|(_, zip)| zip.clone())
    }
}

/// Id, zip and revision of the state now.
fn build(store: &Store, project_id: &str) -> Result<(String, Bytes, u64), SnapshotError> {
    let (revision, rows) = store.state()?;
    let mut zip = Vec::new();
    let about = About { project_id, revision, created_at: None };
    let files = rows.into_iter().filter_map(|row| Some((row.path, row.bytes?, row.version)));
    let manifest = write_snapshot(&mut zip, about, files)?;
    Ok((manifest.snapshot_id, zip.into(), revision))
}
