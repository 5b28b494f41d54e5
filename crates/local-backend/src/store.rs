//! The project's table, in memory or over a PostgreSQL, with its rights, events, objects, snapshots and sessions.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

pub mod event_payload;
pub mod memory;
pub mod objects;
pub mod policies;
pub mod preview_sessions;
pub mod project;
pub mod rate_limit;
pub mod record;
pub mod rights;
pub mod snapshots;

use tokio::sync::broadcast;

use crate::postgres::Postgres;
use crate::row::{Bulk, BulkEntry, Change, FileContent, Head, ProjectState, Row};
use crate::store_error::StoreError;

use memory::Memory;
use project::PathRule;

/// The project's table. Clones share one table. Each method blocks until it has an answer, over a PostgreSQL for the time of a
/// statement. A method without a `Result` returns an empty value if the database cannot be reached, and logs it.
#[derive(Clone)]
pub struct Store(pub(crate) StoreKind);

/// The place of the table.
#[derive(Clone)]
pub(crate) enum StoreKind {
    Memory(Memory),
    Postgres(Postgres),
}

impl Store {
    /// Saves one file. Equal content changes nothing and returns the current row.
    ///
    /// # Errors
    /// As `upsert_project_file`.
    pub fn upsert(
        &self,
        path: &str,
        content: FileContent,
        expected_version: Option<u64>,
        sender: &str,
    ) -> Result<Row, StoreError> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.upsert(path, content, expected_version, sender),
            StoreKind::Postgres(postgres) => {
                let entry = BulkEntry { path: path.into(), content: Some(content), expected_version };
                postgres.save(entry, sender)
            }
        }
    }

    /// Deletes one file and returns its tombstone.
    ///
    /// # Errors
    /// As `delete_project_file`.
    pub fn delete(&self, path: &str, expected_version: Option<u64>, sender: &str) -> Result<Row, StoreError> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.delete(path, expected_version, sender),
            StoreKind::Postgres(postgres) => {
                postgres.save(BulkEntry { path: path.into(), content: None, expected_version }, sender)
            }
        }
    }

    /// Saves and deletes up to 10,000 files in one transaction, all or nothing.
    ///
    /// # Errors
    /// As `bulk_upsert_project_files`.
    pub fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.bulk(entries, sender),
            StoreKind::Postgres(postgres) => postgres.bulk(entries, sender),
        }
    }

    /// The live files in the order of their paths.
    pub fn current(&self) -> Vec<Row> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.current(),
            StoreKind::Postgres(postgres) => or_empty(postgres.state()).files,
        }
    }

    /// Head revision and stored digest, as `project_head` returns them.
    pub fn head(&self) -> Head {
        match &self.0 {
            StoreKind::Memory(memory) => memory.head(),
            StoreKind::Postgres(postgres) => or_empty(postgres.head()),
        }
    }

    /// Head revision and live files as a read sees them.
    pub(crate) fn state(&self) -> Result<ProjectState, StoreError> {
        match &self.0 {
            StoreKind::Memory(memory) => {
                let project = memory.read_view();
                Ok(ProjectState { revision: project.head(), files: project.live().cloned().collect() })
            }
            StoreKind::Postgres(postgres) => postgres.state(),
        }
    }

    /// The newest row of `path`, tombstones included.
    pub fn newest(&self, path: &str) -> Option<Row> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.newest(path),
            StoreKind::Postgres(postgres) => or_empty(postgres.newest(path)),
        }
    }

    /// Receives every transaction from now on. A receiver that is more than 16,384 behind gets the channel's lag error.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        match &self.0 {
            StoreKind::Memory(memory) => memory.subscribe(),
            StoreKind::Postgres(postgres) => postgres.subscribe(),
        }
    }

    /// Removes the tombstones at or below `floor`, as retention does. Reads from below it get a reset.
    ///
    /// # Panics
    /// Over a PostgreSQL, like the four methods below: they are for tests of what an agent does then.
    pub fn prune_tombstones(&self, floor: u64) {
        self.memory().prune_tombstones(floor);
    }

    /// Restores the state at `revision`, as a backup does, without an event. In memory only.
    pub fn rewind(&self, revision: u64) {
        self.memory().rewind(revision);
    }

    /// Replaces the bytes of the newest row of `path` and keeps its hash. False if the file does not exist. In memory only.
    pub fn corrupt(&self, path: &str, bytes: Vec<u8>) -> bool {
        self.memory().corrupt(path, bytes)
    }

    /// Makes the stored digest wrong from now on. In memory only.
    pub fn corrupt_digest(&self) {
        self.memory().corrupt_digest();
    }

    /// Sets which paths are accepted. In memory only.
    pub fn set_path_rule(&self, rule: PathRule) {
        self.memory().set_path_rule(rule);
    }

    fn memory(&self) -> &Memory {
        match &self.0 {
            StoreKind::Memory(memory) => memory,
            StoreKind::Postgres(_) => panic!("only the table in memory can be changed this way"),
        }
    }
}

fn or_empty<T: Default>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the database");
        T::default()
    })
}
