pub mod event_payload;
pub mod listing;
pub mod memory;
pub mod objects;
pub mod policies;
pub mod preview_sessions;
pub mod project;
pub mod rate_limit;
pub mod rights;
pub mod snapshots;

use tokio::sync::broadcast;

use crate::postgres::Postgres;
use crate::row::{Bulk, BulkEntry, Change, FileContent, Row};
use crate::store::memory::Memory;
use crate::store_error::StoreError;

/// The project's table. Clones are the same table. Its methods wait for their answer, over PostgreSQL for the time of a
/// statement; the requests of the API do not go through them. What only looks finds nothing where the database cannot
/// be reached, and the log says so.
#[derive(Clone)]
pub struct Store(pub(crate) Kind);

/// Where the table is.
#[derive(Clone)]
pub(crate) enum Kind {
    Memory(Memory),
    Postgres(Postgres),
}

impl Store {
    /// Saves one file. Equal content changes nothing and gives the current row.
    pub fn upsert(
        &self,
        path: &str,
        content: FileContent,
        expected_version: Option<u64>,
        sender: &str,
    ) -> Result<Row, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.upsert(path, content, expected_version, sender),
            Kind::Postgres(postgres) => {
                let entry = BulkEntry { path: path.into(), content: Some(content), expected_version };
                postgres.save(entry, sender)
            }
        }
    }

    /// Deletes one file and gives its tombstone.
    pub fn delete(&self, path: &str, expected_version: Option<u64>, sender: &str) -> Result<Row, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.delete(path, expected_version, sender),
            Kind::Postgres(postgres) => {
                postgres.save(BulkEntry { path: path.into(), content: None, expected_version }, sender)
            }
        }
    }

    /// Saves and deletes up to 10,000 files in one transaction, all or nothing.
    pub fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.bulk(entries, sender),
            Kind::Postgres(postgres) => postgres.bulk(entries, sender),
        }
    }

    /// The live files in order of their paths.
    pub fn current(&self) -> Vec<Row> {
        match &self.0 {
            Kind::Memory(memory) => memory.current(),
            Kind::Postgres(postgres) => looked(postgres.state()).1,
        }
    }

    /// Head revision and stored digest, as `project_head` gives them.
    pub fn head(&self) -> (u64, String) {
        match &self.0 {
            Kind::Memory(memory) => memory.head(),
            Kind::Postgres(postgres) => looked(postgres.head()),
        }
    }

    /// Head and live files, of one moment.
    pub(crate) fn state(&self) -> Result<(u64, Vec<Row>), StoreError> {
        match &self.0 {
            Kind::Memory(memory) => {
                let project = memory.project();
                Ok((project.head(), project.live().cloned().collect()))
            }
            Kind::Postgres(postgres) => postgres.state(),
        }
    }

    /// The newest row of `path`, tombstone or not.
    pub fn newest(&self, path: &str) -> Option<Row> {
        match &self.0 {
            Kind::Memory(memory) => memory.newest(path),
            Kind::Postgres(postgres) => looked(postgres.newest(path)),
        }
    }

    /// Every transaction committed from now on. A receiver that lags by more than 16,384 is told so by the channel.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        match &self.0 {
            Kind::Memory(memory) => memory.subscribe(),
            Kind::Postgres(postgres) => postgres.subscribe(),
        }
    }

    /// Forgets the tombstones at or below `floor`, as retention does: who asks from below it is answered with a reset.
    ///
    /// # Panics
    /// Like the four below, where the table is not in memory: they are for tests of what an agent makes of it.
    pub fn prune_tombstones(&self, floor: u64) {
        self.memory().prune_tombstones(floor);
    }

    /// Puts back the state at `revision`, as a restored backup does, and tells nobody. In memory only.
    pub fn rewind(&self, revision: u64) {
        self.memory().rewind(revision);
    }

    /// Puts other bytes under the newest row of `path` and leaves its hash as it was. False where there is no such
    /// file. In memory only.
    pub fn corrupt(&self, path: &str, bytes: Vec<u8>) -> bool {
        self.memory().corrupt(path, bytes)
    }

    /// Makes the stored digest wrong, from now on. In memory only.
    pub fn spoil_digest(&self) {
        self.memory().spoil_digest();
    }

    /// Whether paths that the database refuses are taken: for tests of an agent that must refuse them itself. In
    /// memory only.
    pub fn allow_any_path(&self, allow: bool) {
        self.memory().allow_any_path(allow);
    }

    fn memory(&self) -> &Memory {
        match &self.0 {
            Kind::Memory(memory) => memory,
            Kind::Postgres(_) => panic!("only the table in memory can be tampered with"),
        }
    }
}

fn looked<T: Default>(found: Result<T, StoreError>) -> T {
    found.unwrap_or_else(|error| {
        tracing::error!(%error, "the database was not read");
        T::default()
    })
}
