//! From the folder to the store.

use std::time::Duration;

use local_backend::{BulkEntry, FileContent, Row, StoreError};
use sync_core::ContentHash;

use super::super::mirror_event::MirrorEvent;
use super::mirror_loop::MirrorLoop;
use super::{Known, SENDER};

/// How often a save is tried again while others save the same file at the same moment.
const MAX_RETRIES: usize = 100;

impl MirrorLoop {
    /// What must be saved so that the store has the same content at `path` as the folder.
    pub(super) fn difference(&mut self, path: String) -> Option<BulkEntry> {
        let content = match self.folder.read(&path) {
            Ok(content) => content,
            Err(error) => {
                self.warn(&path, error.to_string());
                return None;
            }
        };
        self.warned.remove(&path);
        let known = self.known.get(&path).copied().unwrap_or_default();
        if content.as_ref().map(|content| content.hash) == known.hash {
            return None;
        }
        let content = content.map(|content| FileContent::from_bytes(content.bytes));
        Some(BulkEntry { path, content, expected_version: Some(known.version) })
    }

    /// Saves `entries` in one transaction. Where a file was changed on both sides, the folder's content wins; the conflict
    /// is reported.
    pub(super) fn send(&mut self, mut entries: Vec<BulkEntry>) {
        for _ in 0..MAX_RETRIES {
            if entries.is_empty() {
                return;
            }
            match self.save(&entries) {
                Ok(rows) => return self.sent(&rows),
                Err((index, StoreError::Conflict { path, current, .. })) => {
                    let sender = self.store.newest(&path).map_or_else(String::new, |row| row.sender);
                    if let Some(entry) = entries.get_mut(index) {
                        entry.expected_version = Some(current);
                    }
                    (self.report)(MirrorEvent::Conflict { path, version: current, sender });
                }
                Err((_, StoreError::TooManyWrites { retry_after_ms })) => {
                    std::thread::sleep(Duration::from_millis(retry_after_ms));
                }
                Err((index, error)) => {
                    let refused = entries.remove(index);
                    self.warn(&refused.path, error.to_string());
                }
            }
        }
        for entry in entries {
            self.warn(&entry.path, "others keep saving it".into());
        }
    }

    /// Saves one file as an update, several as a bulk. An error has the index of the wrong entry.
    fn save(&self, entries: &[BulkEntry]) -> Result<Vec<Row>, (usize, StoreError)> {
        let rows = match entries {
            [BulkEntry { path, content: Some(content), expected_version }] => {
                self.store.upsert(path, content.clone(), *expected_version, SENDER).map(|row| vec![row])
            }
            [BulkEntry { path, content: None, expected_version }] => {
                self.store.delete(path, *expected_version, SENDER).map(|row| vec![row])
            }
            entries => self.store.bulk(entries.to_vec(), SENDER).map(|bulk| bulk.files),
        };
        rows.map_err(|error| match error {
            StoreError::Entry { index, error, .. } => (index, *error),
            other => (0, other),
        })
    }

    fn sent(&mut self, rows: &[Row]) {
        for row in rows {
            let hash = row.content_hash.as_deref().and_then(|hash| ContentHash::parse(hash).ok());
            self.known.insert(row.path.clone(), Known { hash, version: row.version });
        }
        let (deleted, saved): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.deleted);
        let paths = |rows: Vec<&Row>| rows.into_iter().map(|row| row.path.clone()).collect();
        (self.report)(MirrorEvent::Sent { saved: paths(saved), deleted: paths(deleted) });
    }

    /// Reports an error with `path`, once until it is gone.
    pub(super) fn warn(&mut self, path: &str, error: String) {
        if self.warned.insert(path.into()) {
            (self.report)(MirrorEvent::Refused { path: path.into(), error });
        }
    }
}
