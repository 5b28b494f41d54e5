use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use jiff::Timestamp;
use sync_core::ProjectPath;

use super::rate_limit::RateLimit;
use crate::digest::{ProjectDigest, content_hash};
use crate::row::{Head, Row};
use crate::store_error::StoreError;

/// Most entries of one bulk (the contract, section 5).
pub const MAX_BULK: usize = 10_000;
/// Longest file type in bytes, as in the database.
const MAX_FILE_TYPE: usize = 255;
/// Largest file in bytes: the default limit of a bucket on the hosted service.
pub const MAX_FILE: usize = 50 << 20;
/// Most bytes of all rows, old versions included: the backend runs on a developer's machine.
pub const MAX_TOTAL: usize = 2 << 30;
/// The type of a new file without a given type.
const DEFAULT_TYPE: &str = "text";
/// The type of a new file in storage without a given type.
const STORED_TYPE: &str = "binary";
/// Most rows that are kept of each path.
const KEPT_VERSIONS: usize = 16;

/// Whether a write was made by a single or a bulk function, which decides its event and the texts of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    Single,
    Bulk,
}

/// Which paths the store accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathRule {
    /// Those of the contract.
    #[default]
    Contract,
    /// Every path, for tests of an agent that must refuse some itself.
    Any,
}

/// One write of a caller.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: String,
    pub action: Action,
    /// The version that the writer has seen; 0 for a file that must not exist.
    pub expected: Option<u64>,
}

#[derive(Debug, Clone)]
pub enum Action {
    Put { bytes: Bytes, hash: Option<String>, file_type: String, in_storage: bool },
    Delete,
}

/// The state of the project. Every function of the database is one method here, without I/O.
#[derive(Debug, Clone, Default)]
pub struct Project {
    files: BTreeMap<String, Vec<Row>>,
    /// The newest row of each path, in the order of revisions.
    order: BTreeSet<(u64, String)>,
    head: u64,
    digest: ProjectDigest,
    /// The highest revision up to which tombstones were removed.
    tombstone_floor: u64,
    /// The last version of paths whose rows were all removed: a version is never used again.
    version_floor: BTreeMap<String, u64>,
    total: usize,
    /// The rate limit of the write functions.
    pub rate_limit: RateLimit,
    pub path_rule: PathRule,
}

/// The result of [`Project::apply`].
#[derive(Debug)]
pub struct Applied {
    pub revision: u64,
    /// The newest row of each entry, in their order.
    pub rows: Vec<Row>,
    /// The new rows; empty if nothing changed and no revision was used.
    pub changed: Vec<Row>,
}

impl Project {
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The newest revision and the stored digest.
    pub fn head_and_digest(&self) -> Head {
        Head { revision: self.head, digest: self.digest.to_string() }
    }

    pub fn digest(&self) -> &ProjectDigest {
        &self.digest
    }

    pub fn tombstone_floor(&self) -> u64 {
        self.tombstone_floor
    }

    /// The newest row of `path`, tombstones included.
    pub fn newest(&self, path: &str) -> Option<&Row> {
        self.files.get(path)?.last()
    }

    /// This version of `path`. `None` for a tombstone and for a version that is removed or unknown.
    pub fn version(&self, path: &str, version: u64) -> Option<&Row> {
        self.files.get(path)?.iter().find(|row| row.version == version && !row.deleted)
    }

    /// The live files in the order of their paths.
    pub fn live(&self) -> impl Iterator<Item = &Row> {
        self.files.values().filter_map(|rows| rows.last()).filter(|row| !row.deleted)
    }

    /// The newest row of each path above the revision `since`, in the order of revisions.
    pub fn newer(&self, since: u64) -> impl Iterator<Item = &Row> {
        self.order.range((since.saturating_add(1), String::new())..).filter_map(|(_, path)| self.newest(path))
    }

    /// Writes all entries in one transaction of one revision, or none. A refusal of a bulk names the entry.
    pub fn apply(
        &mut self,
        entries: Vec<Entry>,
        sender: &str,
        now: Timestamp,
        kind: WriteKind,
    ) -> Result<Applied, StoreError> {
        let mut seen = HashSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let fits = if seen.insert(entry.path.as_str()) {
                self.check(entry)
            } else {
                Err(StoreError::DuplicatePath { path: entry.path.clone() })
            };
            if let Err(error) = fits {
                let path = entry.path.clone();
                return Err(match kind {
                    WriteKind::Bulk => StoreError::Entry { index, path, error: Box::new(error) },
                    WriteKind::Single => error,
                });
            }
        }
        let bytes: usize = entries.iter().map(Entry::size).sum();
        if self.total.saturating_add(bytes) > MAX_TOTAL {
            return Err(StoreError::Full { limit: MAX_TOTAL });
        }
        let revision = self.head.saturating_add(1);
        let mut applied = Applied { revision: self.head, rows: Vec::new(), changed: Vec::new() };
        for entry in entries {
            match self.unchanged(&entry) {
                Some(row) => {
                    let row = row.clone();
                    applied.rows.push(match kind {
                        WriteKind::Bulk => row,
                        WriteKind::Single => self.retype(row, entry),
                    });
                }
                None => {
                    let row = self.next_row(entry, revision, sender, now);
                    self.insert(row.clone());
                    applied.rows.push(row.clone());
                    applied.changed.push(row);
                }
            }
        }
        if !applied.changed.is_empty() {
            self.head = revision;
            applied.revision = revision;
        }
        Ok(applied)
    }

    /// Equal content is accepted whatever the expected version: a repeated save whose answer was lost is not a conflict.
    fn check(&self, entry: &Entry) -> Result<(), StoreError> {
        if self.path_rule == PathRule::Contract {
            ProjectPath::parse(&entry.path).map_err(StoreError::Path)?;
        }
        if let Action::Put { file_type, .. } = &entry.action
            && file_type.len() > MAX_FILE_TYPE
        {
            return Err(StoreError::FileType { size: file_type.len(), limit: MAX_FILE_TYPE });
        }
        if entry.size() > MAX_FILE {
            let path = entry.path.clone();
            return Err(StoreError::FileTooLarge { path, size: entry.size(), limit: MAX_FILE });
        }
        let newest = self.newest(&entry.path);
        if matches!(entry.action, Action::Delete) && newest.is_none() {
            return Err(StoreError::FileNotFound { path: entry.path.clone() });
        }
        if self.unchanged(entry).is_some() {
            return Ok(());
        }
        let current = newest.map_or(0, |row| row.version);
        match entry.expected {
            Some(0) if newest.is_none_or(|row| row.deleted) => Ok(()),
            Some(expected) if expected != current => {
                Err(StoreError::Conflict { path: entry.path.clone(), expected, current })
            }
            _ => Ok(()),
        }
    }

    /// The newest row, if the entry would not change it.
    fn unchanged(&self, entry: &Entry) -> Option<&Row> {
        let newest = self.newest(&entry.path)?;
        let same = match &entry.action {
            Action::Delete => newest.deleted,
            Action::Put { bytes, hash, .. } => {
                !newest.deleted
                    && match hash {
                        Some(hash) => newest.content_hash.as_ref() == Some(hash),
                        None => newest.bytes.as_ref() == Some(bytes),
                    }
            }
        };
        same.then_some(newest)
    }

    /// Sets another type, which is not a change of the file.
    fn retype(&mut self, row: Row, entry: Entry) -> Row {
        let Action::Put { file_type, .. } = entry.action else { return row };
        let newest = self.files.get_mut(&row.path).and_then(|rows| rows.last_mut());
        match newest.filter(|_| !file_type.is_empty()) {
            Some(newest) => {
                newest.file_type = file_type;
                newest.clone()
            }
            None => row,
        }
    }

    fn next_row(&self, entry: Entry, revision: u64, sender: &str, now: Timestamp) -> Row {
        let newest = self.newest(&entry.path);
        let before = newest.map(|row| row.version);
        let version = before.or_else(|| self.version_floor.get(&entry.path).copied()).unwrap_or(0).saturating_add(1);
        let mut row = Row {
            id: uuid::Uuid::new_v4().to_string(),
            parent_id: newest.map(|row| row.id.clone()),
            file_type: newest.map_or_else(|| DEFAULT_TYPE.into(), |row| row.file_type.clone()),
            creator: newest.filter(|row| !row.deleted).map_or(sender, |row| &row.creator).into(),
            path: entry.path,
            version,
            revision,
            content_hash: None,
            size: 0,
            bytes: None,
            in_storage: false,
            deleted: true,
            sender: sender.into(),
            updated_at: now,
        };
        if let Action::Put { bytes, hash, file_type, in_storage } = entry.action {
            row.content_hash = Some(hash.unwrap_or_else(|| content_hash(&bytes)));
            row.size = bytes.len() as u64;
            row.bytes = Some(bytes);
            if !file_type.is_empty() {
                row.file_type = file_type;
            } else if before.is_none() && in_storage {
                row.file_type = STORED_TYPE.into();
            }
            row.in_storage = in_storage;
            row.deleted = false;
        }
        row
    }

    fn insert(&mut self, row: Row) {
        if let Some(old) = self.newest(&row.path).cloned() {
            self.forget_newest(&old);
        }
        self.remember_newest(&row);
        self.total = self.total.saturating_add(size(&row));
        let rows = self.files.entry(row.path.clone()).or_default();
        rows.push(row);
        if rows.len() > KEPT_VERSIONS {
            let oldest = rows.remove(0);
            self.total = self.total.saturating_sub(size(&oldest));
        }
    }

    fn remember_newest(&mut self, row: &Row) {
        self.order.insert((row.revision, row.path.clone()));
        if let (false, Some(hash)) = (row.deleted, &row.content_hash) {
            self.digest.toggle(&row.path, row.version, hash);
        }
    }

    fn forget_newest(&mut self, row: &Row) {
        self.order.remove(&(row.revision, row.path.clone()));
        if let (false, Some(hash)) = (row.deleted, &row.content_hash) {
            self.digest.toggle(&row.path, row.version, hash);
        }
    }

    /// Removes the tombstones at or below `floor`, as the retention function does. Reads from below it get a reset.
    pub fn prune_tombstones(&mut self, floor: u64) {
        let floor = floor.min(self.head);
        let old: Vec<Row> =
            self.newer(0).take_while(|row| row.revision <= floor).filter(|row| row.deleted).cloned().collect();
        for row in old {
            self.forget_newest(&row);
            self.version_floor.insert(row.path.clone(), row.version);
            for row in self.files.remove(&row.path).unwrap_or_default() {
                self.total = self.total.saturating_sub(size(&row));
            }
        }
        self.tombstone_floor = self.tombstone_floor.max(floor);
    }

    /// Restores the state at `revision`, as a backup does. A file whose rows from then were removed is gone.
    pub fn rewind(&mut self, revision: u64) {
        for path in self.files.keys().cloned().collect::<Vec<_>>() {
            let rows = self.files.remove(&path).unwrap_or_default();
            if let Some(newest) = rows.last() {
                self.forget_newest(newest);
            }
            let (kept, gone): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.revision <= revision);
            self.total = self.total.saturating_sub(gone.iter().map(size).sum());
            if let Some(newest) = kept.last() {
                self.remember_newest(newest);
                self.files.insert(path, kept);
            }
        }
        self.head = self.head.min(revision);
        self.tombstone_floor = self.tombstone_floor.min(self.head);
    }

    /// Replaces the bytes of the newest row of `path` and keeps its hash. False if the file does not exist.
    pub fn corrupt(&mut self, path: &str, bytes: Bytes) -> bool {
        let Some(row) = self.files.get_mut(path).and_then(|rows| rows.last_mut()).filter(|row| !row.deleted) else {
            return false;
        };
        self.total = self.total.saturating_sub(size(row)).saturating_add(bytes.len());
        row.size = bytes.len() as u64;
        row.bytes = Some(bytes);
        true
    }

    /// Makes the stored digest wrong, which later writes keep.
    pub fn corrupt_digest(&mut self) {
        self.digest.corrupt();
    }
}

impl Entry {
    fn size(&self) -> usize {
        match &self.action {
            Action::Put { bytes, .. } => bytes.len(),
            Action::Delete => 0,
        }
    }
}

/// The bytes of a row as they count to the total.
fn size(row: &Row) -> usize {
    usize::try_from(row.size).unwrap_or(usize::MAX)
}
