use std::collections::BTreeMap;

use crate::files::digest::TableDigest;
use crate::{ContentHash, Revision, Version};

/// What the agent has accepted: the newest row of every path, tombstones included, also of paths that it
/// must not write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    rows: BTreeMap<Box<str>, Row>,
    digest: TableDigest,
    live: usize,
}

/// The newest row of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// None where the row came from a snapshot without manifest.
    pub version: Option<Version>,
    /// The revision it came with; only a row of a higher revision replaces it.
    pub revision: Revision,
    pub state: RowState,
}

/// Whether the file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowState {
    Live { hash: ContentHash, size: Option<u64> },
    Tombstone,
}

impl Row {
    pub fn hash(&self) -> Option<&ContentHash> {
        match &self.state {
            RowState::Live { hash, .. } => Some(hash),
            RowState::Tombstone => None,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.state, RowState::Live { .. })
    }

    /// Whether version and content are equal.
    pub fn has_same_content(&self, other: &Row) -> bool {
        self.version == other.version && self.hash() == other.hash()
    }
}

impl Table {
    pub fn get(&self, path: &str) -> Option<&Row> {
        self.rows.get(path)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(path, row)| (&**path, row))
    }

    /// Of the live files whose version is known.
    pub fn digest(&self) -> TableDigest {
        self.digest
    }

    pub fn live(&self) -> usize {
        self.live
    }

    /// Inserts a row, in place of the path's earlier one.
    pub fn put(&mut self, path: &str, row: Row) {
        if let Some(old) = self.rows.insert(path.into(), row) {
            self.uncount(path, &old);
        }
        if let Some(hash) = row.hash() {
            self.live = self.live.saturating_add(1);
            self.toggle(path, &row, hash);
        }
    }

    pub fn remove(&mut self, path: &str) {
        if let Some(old) = self.rows.remove(path) {
            self.uncount(path, &old);
        }
    }

    fn uncount(&mut self, path: &str, row: &Row) {
        if let Some(hash) = row.hash() {
            self.live = self.live.saturating_sub(1);
            self.toggle(path, row, hash);
        }
    }

    /// Adds a live file to the digest, or takes it out: both are the same step.
    fn toggle(&mut self, path: &str, row: &Row, hash: &ContentHash) {
        if let Some(version) = row.version {
            self.digest.toggle(path, version, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_every_change() {
        let row = |version, content: &[u8]| Row {
            version: Some(version),
            revision: version,
            state: RowState::Live { hash: ContentHash::of(content), size: None },
        };
        let mut table = Table::default();
        table.put("src/App.tsx", row(2, b"old"));
        table.put("src/App.tsx", row(3, b"hello"));
        table.put("gone", row(1, b"x"));
        table.put("gone", Row { version: Some(2), revision: 9, state: RowState::Tombstone });
        let expected = "ae7cc41f17dd453128c6d3c336e32c5862cabea295c863f371195e3d3f7d7a25";
        assert_eq!(table.digest().to_string(), expected);
        assert_eq!(table.live(), 1);
        table.remove("src/App.tsx");
        table.remove("gone");
        assert_eq!((table.digest(), table.live()), (TableDigest::default(), 0));
    }
}
