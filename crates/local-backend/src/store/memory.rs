use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::row::{Bulk, BulkEntry, Change, FileContent, Row};
use crate::store::objects::{Objects, asset_name};
use crate::store::project::{Action, Applied, Entry, MAX_BULK, Project};
use crate::store_error::StoreError;

/// Changes kept for a slow [`Memory::subscribe`]r before it is told that it lagged.
pub const CHANGES_KEPT: usize = 16_384;

/// What is done with each committed transaction, in their order.
type OnCommit = Box<dyn Fn(&Commit) + Send + Sync>;

/// The project's table in memory. Clones are the same table; a writer holds it until its event is on its way, so events
/// leave in the order of revisions.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    project_id: String,
    project: Mutex<Project>,
    objects: Arc<Objects>,
    changes: broadcast::Sender<Change>,
    on_commit: OnceLock<OnCommit>,
}

/// A committed transaction, whole rows.
pub struct Commit {
    pub revision: u64,
    pub sender: String,
    pub rows: Vec<Row>,
    /// Written by a bulk function: its event is `bulk:apply`, however few rows there are.
    pub bulk: bool,
    pub at: Timestamp,
}

impl Memory {
    pub fn new(project_id: &str, objects: Arc<Objects>) -> Memory {
        Memory(Arc::new(Shared {
            project_id: project_id.into(),
            project: Mutex::default(),
            objects,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            on_commit: OnceLock::new(),
        }))
    }

    /// Called once, before the first commit that anybody is to hear of.
    pub fn on_commit(&self, publish: OnCommit) {
        if self.0.on_commit.set(publish).is_err() {
            tracing::error!("the store publishes already");
        }
    }

    /// Saves one file. Equal content changes nothing and gives the current row.
    pub fn upsert(
        &self,
        path: &str,
        content: FileContent,
        expected_version: Option<u64>,
        sender: &str,
    ) -> Result<Row, StoreError> {
        let action = put(content, String::new());
        self.one(Entry { path: path.into(), action, expected: expected_version }, sender)
    }

    /// Deletes one file and gives its tombstone.
    pub fn delete(&self, path: &str, expected_version: Option<u64>, sender: &str) -> Result<Row, StoreError> {
        self.one(Entry { path: path.into(), action: Action::Delete, expected: expected_version }, sender)
    }

    /// Saves and deletes up to 10,000 files in one transaction, all or nothing.
    pub fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        let entries = entries.into_iter().map(|entry| Entry {
            path: entry.path,
            action: entry.content.map_or(Action::Delete, |content| put(content, String::new())),
            expected: entry.expected_version,
        });
        self.many(entries.collect(), sender)
    }

    /// The live files in order of their paths.
    pub fn current(&self) -> Vec<Row> {
        self.project().live().cloned().collect()
    }

    /// Head revision and stored digest, as `project_head` gives them.
    pub fn head(&self) -> (u64, String) {
        let project = self.project();
        (project.head(), project.digest().to_string())
    }

    /// The newest row of `path`, tombstone or not.
    pub fn newest(&self, path: &str) -> Option<Row> {
        self.project().newest(path).cloned()
    }

    /// Every transaction committed from now on. A receiver that lags by more than 16,384 is told so by the channel.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Forgets the tombstones at or below `floor`, as retention does: who asks from below it is answered with a reset.
    pub fn prune_tombstones(&self, floor: u64) {
        self.project().prune_tombstones(floor);
    }

    /// Puts back the state at `revision`, as a restored backup does, and tells nobody.
    pub fn rewind(&self, revision: u64) {
        self.project().rewind(revision);
    }

    /// Puts other bytes under the newest row of `path` and leaves its hash as it was. False where there is no such file.
    pub fn corrupt(&self, path: &str, bytes: Vec<u8>) -> bool {
        self.project().corrupt(path, bytes.into())
    }

    /// Makes the stored digest wrong, from now on.
    pub fn spoil_digest(&self) {
        self.project().spoil_digest();
    }

    /// Whether paths that the database refuses are taken: for tests of an agent that must refuse them itself.
    pub fn allow_any_path(&self, allow: bool) {
        self.project().any_path = allow;
    }

    pub fn project(&self) -> MutexGuard<'_, Project> {
        self.0.project.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn one(&self, entry: Entry, sender: &str) -> Result<Row, StoreError> {
        let path = entry.path.clone();
        let mut applied = self.commit(vec![entry], sender, false)?;
        applied.rows.pop().ok_or(StoreError::NoSuchFile { path })
    }

    pub fn many(&self, entries: Vec<Entry>, sender: &str) -> Result<Bulk, StoreError> {
        if entries.is_empty() {
            return Err(StoreError::EmptyBulk);
        }
        if entries.len() > MAX_BULK {
            return Err(StoreError::BulkTooLarge { count: entries.len(), limit: MAX_BULK });
        }
        let applied = self.commit(entries, sender, true)?;
        Ok(Bulk { revision: applied.revision, files: applied.rows })
    }

    fn commit(&self, entries: Vec<Entry>, sender: &str, bulk: bool) -> Result<Applied, StoreError> {
        let at = Timestamp::now();
        let mut project = self.project();
        let applied = project.apply(entries, sender, at, bulk)?;
        if applied.changed.is_empty() {
            return Ok(applied);
        }
        for row in applied.changed.iter().filter(|row| row.in_storage) {
            if let (Some(hash), Some(bytes)) = (&row.content_hash, &row.bytes) {
                let stored = self.0.objects.put(&asset_name(&self.0.project_id, hash), bytes.clone());
                stored.unwrap_or_else(|error| tracing::warn!(path = row.path, %error, "binary content not stored"));
            }
        }
        let change = Change {
            revision: applied.revision,
            sender: sender.into(),
            files: applied.changed.iter().map(Into::into).collect(),
        };
        // No receiver is no error: nobody need watch.
        let _receivers = self.0.changes.send(change);
        if let Some(publish) = self.0.on_commit.get() {
            let rows = applied.changed.clone();
            publish(&Commit { revision: applied.revision, sender: sender.into(), rows, bulk, at });
        }
        Ok(applied)
    }
}

/// Text goes into the table, everything else to storage.
pub fn put(content: FileContent, file_type: String) -> Action {
    let (bytes, in_storage): (Bytes, bool) = match content {
        FileContent::Text(text) => {
            let in_storage = text.contains('\0');
            (text.into(), in_storage)
        }
        FileContent::Binary(bytes) => (bytes.into(), true),
    };
    Action::Put { bytes, hash: None, file_type, in_storage }
}
