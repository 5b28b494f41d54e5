use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::objects::Objects;
use super::project::{Action, Applied, Entry, MAX_BULK, PathRule, Project, WriteKind};
use crate::faults::Faults;
use crate::object_name::asset_name;
use crate::row::{Bulk, BulkEntry, CHANGES_KEPT, Change, FileContent, Head, Row};
use crate::store_error::StoreError;

/// Called with each committed transaction, in their order.
type OnCommit = Box<dyn Fn(&Commit) + Send + Sync>;

/// The project's table in memory. Clones share one table. A writer holds it until its event was sent, so events are sent in
/// the order of revisions.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    project_id: String,
    project: Mutex<Project>,
    /// The state that reads see, while it is older than `project`.
    older: Mutex<OlderState>,
    objects: Arc<Objects>,
    faults: Faults,
    changes: broadcast::Sender<Change>,
    on_commit: OnceLock<OnCommit>,
}

/// Committed states that reads do not see yet ([`crate::FaultSettings::visible_after_ms`]).
#[derive(Default)]
struct OlderState {
    /// The state that reads see; `None` while they see the newest.
    visible: Option<Arc<Project>>,
    pending: VecDeque<PendingState>,
}

struct PendingState {
    visible_at: Instant,
    project: Arc<Project>,
}

/// The state of the project that reads see.
pub enum ReadView<'a> {
    Newest(MutexGuard<'a, Project>),
    Older(Arc<Project>),
}

impl Deref for ReadView<'_> {
    type Target = Project;

    fn deref(&self) -> &Project {
        match self {
            ReadView::Newest(project) => project,
            ReadView::Older(project) => project,
        }
    }
}

/// A committed transaction.
pub struct Commit {
    pub revision: u64,
    pub sender: String,
    pub rows: Vec<Row>,
    pub kind: WriteKind,
    pub at: Timestamp,
}

impl Memory {
    pub fn new(project_id: &str, objects: Arc<Objects>, faults: Faults) -> Memory {
        Memory(Arc::new(Shared {
            project_id: project_id.into(),
            project: Mutex::default(),
            older: Mutex::default(),
            objects,
            faults,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            on_commit: OnceLock::new(),
        }))
    }

    /// Sets the function that sends events. Called once; earlier commits have no event.
    pub fn on_commit(&self, publish: OnCommit) {
        if self.0.on_commit.set(publish).is_err() {
            tracing::error!("the store sends its events already");
        }
    }

    /// Saves one file. Equal content changes nothing and returns the current row.
    pub fn upsert(
        &self,
        path: &str,
        content: FileContent,
        expected_version: Option<u64>,
        sender: &str,
    ) -> Result<Row, StoreError> {
        let action = put(content, String::new());
        self.write_one(Entry { path: path.into(), action, expected: expected_version }, sender)
    }

    /// Deletes one file and returns its tombstone.
    pub fn delete(&self, path: &str, expected_version: Option<u64>, sender: &str) -> Result<Row, StoreError> {
        self.write_one(Entry { path: path.into(), action: Action::Delete, expected: expected_version }, sender)
    }

    /// Saves and deletes up to 10,000 files in one transaction, all or nothing.
    pub fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        let entries = entries.into_iter().map(|entry| Entry {
            path: entry.path,
            action: entry.content.map_or(Action::Delete, |content| put(content, String::new())),
            expected: entry.expected_version,
        });
        self.write_bulk(entries.collect(), sender)
    }

    /// The live files in the order of their paths.
    pub fn current(&self) -> Vec<Row> {
        self.project().live().cloned().collect()
    }

    /// Head revision and stored digest.
    pub fn head(&self) -> Head {
        self.project().head_and_digest()
    }

    /// The newest row of `path`, tombstones included.
    pub fn newest(&self, path: &str) -> Option<Row> {
        self.project().newest(path).cloned()
    }

    /// Receives every transaction from now on, at most 16,384 behind.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// See [`crate::Store::prune_tombstones`].
    pub fn prune_tombstones(&self, floor: u64) {
        self.project().prune_tombstones(floor);
    }

    /// See [`crate::Store::rewind`].
    pub fn rewind(&self, revision: u64) {
        self.project().rewind(revision);
    }

    /// See [`crate::Store::corrupt`].
    pub fn corrupt(&self, path: &str, bytes: Vec<u8>) -> bool {
        self.project().corrupt(path, bytes.into())
    }

    /// See [`crate::Store::corrupt_digest`].
    pub fn corrupt_digest(&self) {
        self.project().corrupt_digest();
    }

    /// See [`crate::Store::set_path_rule`].
    pub fn set_path_rule(&self, rule: PathRule) {
        self.project().path_rule = rule;
    }

    /// The newest committed state.
    pub fn project(&self) -> MutexGuard<'_, Project> {
        self.0.project.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state that reads see: the newest, or an older one while a fault delays it.
    pub fn read_view(&self) -> ReadView<'_> {
        let project = self.project();
        match self.older().visible_now(Instant::now()) {
            Some(older) => ReadView::Older(older),
            None => ReadView::Newest(project),
        }
    }

    /// Writes one file and returns its newest row.
    pub fn write_one(&self, entry: Entry, sender: &str) -> Result<Row, StoreError> {
        let path = entry.path.clone();
        let mut applied = self.commit(vec![entry], sender, WriteKind::Single)?;
        applied.rows.pop().ok_or(StoreError::FileNotFound { path })
    }

    /// Writes 1 to 10,000 files in one transaction.
    pub fn write_bulk(&self, entries: Vec<Entry>, sender: &str) -> Result<Bulk, StoreError> {
        if entries.is_empty() {
            return Err(StoreError::EmptyBulk);
        }
        if entries.len() > MAX_BULK {
            return Err(StoreError::BulkTooLarge { count: entries.len(), limit: MAX_BULK });
        }
        let applied = self.commit(entries, sender, WriteKind::Bulk)?;
        Ok(Bulk { revision: applied.revision, files: applied.rows })
    }

    fn commit(&self, entries: Vec<Entry>, sender: &str, kind: WriteKind) -> Result<Applied, StoreError> {
        let at = Timestamp::now();
        let mut project = self.project();
        let delay = Duration::from_millis(self.0.faults.roll(|all, _| all.visible_after_ms));
        let before = (!delay.is_zero()).then(|| project.clone());
        let applied = project.apply(entries, sender, at, kind)?;
        if applied.changed.is_empty() {
            return Ok(applied);
        }
        for row in applied.changed.iter().filter(|row| row.in_storage) {
            if let (Some(hash), Some(bytes)) = (&row.content_hash, &row.bytes) {
                let stored = self.0.objects.put(&asset_name(&self.0.project_id, hash), bytes.clone());
                stored.unwrap_or_else(|error| tracing::warn!(path = row.path, %error, "cannot store binary content"));
            }
        }
        let change = Change {
            revision: applied.revision,
            sender: sender.into(),
            files: applied.changed.iter().map(Into::into).collect(),
        };
        // An error says that there is no subscriber.
        let _receivers = self.0.changes.send(change);
        if let Some(publish) = self.0.on_commit.get() {
            let rows = applied.changed.clone();
            publish(&Commit { revision: applied.revision, sender: sender.into(), rows, kind, at });
        }
        self.older().add(before, &project, delay);
        Ok(applied)
    }

    fn older(&self) -> MutexGuard<'_, OlderState> {
        self.0.older.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OlderState {
    /// The older state that reads see now; `None` if they see the newest.
    fn visible_now(&mut self, now: Instant) -> Option<Arc<Project>> {
        while self.pending.front().is_some_and(|pending| pending.visible_at <= now) {
            self.visible = self.pending.pop_front().map(|pending| pending.project);
        }
        if self.pending.is_empty() {
            self.visible = None;
        }
        self.visible.clone()
    }

    /// Adds a commit that becomes visible after `delay`. A commit without delay still waits for earlier ones.
    fn add(&mut self, before: Option<Project>, after: &Project, delay: Duration) {
        let now = Instant::now();
        let hidden = self.visible_now(now).is_some();
        if !hidden && delay.is_zero() {
            return;
        }
        if !hidden {
            self.visible = before.map(Arc::new);
        }
        let earliest = self.pending.back().map_or(now, |pending| pending.visible_at);
        let visible_at = now.checked_add(delay).unwrap_or(now).max(earliest);
        self.pending.push_back(PendingState { visible_at, project: Arc::new(after.clone()) });
    }
}

/// A write of content: text goes into the table, everything else to storage.
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
