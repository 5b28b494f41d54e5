//! The data that both stores share: rows of the table, what a caller saves, and what a transaction changed.

use bytes::Bytes;
use jiff::Timestamp;

/// Changes kept for a slow subscriber of the table; a receiver that is further behind gets the channel's lag error.
pub const CHANGES_KEPT: usize = 16_384;

/// The content that a caller saves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// Stored in the table. Text with a NUL, which PostgreSQL cannot hold as text, is stored as binary.
    Text(String),
    /// Stored in storage, bucket `project-assets`; the table holds hash and size.
    Binary(Vec<u8>),
}

impl FileContent {
    /// Text where `bytes` are UTF-8 without NUL, else binary.
    pub fn from_bytes(bytes: Vec<u8>) -> FileContent {
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => FileContent::Text(text),
            Ok(text) => FileContent::Binary(text.into_bytes()),
            Err(error) => FileContent::Binary(error.into_bytes()),
        }
    }
}

/// One entry of a bulk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkEntry {
    /// The file's path, relative to the project's root.
    pub path: String,
    /// Its new content; `None` deletes the file.
    pub content: Option<FileContent>,
    /// The version that the writer has seen; 0 for a file that must not exist.
    pub expected_version: Option<u64>,
}

/// One row of the table: a version of a file, or the tombstone that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row's UUID.
    pub id: String,
    /// The UUID of the path's previous row; `None` for its first.
    pub parent_id: Option<String>,
    /// The file's path, relative to the project's root.
    pub path: String,
    /// `p_file_type` as the writer gave it, else the previous row's, else `text`, or `binary` in storage.
    pub file_type: String,
    /// Counts up from 1 for each path, tombstones included.
    pub version: u64,
    /// The revision of the transaction that wrote it.
    pub revision: u64,
    /// Sha256 of the bytes in lower-case hex; `None` for a tombstone.
    pub content_hash: Option<String>,
    /// The file's size in bytes; 0 for a tombstone.
    pub size: u64,
    /// The file's bytes; `None` for a tombstone.
    pub bytes: Option<Bytes>,
    /// The content is in storage and the table's own content is null.
    pub in_storage: bool,
    /// This row is a tombstone.
    pub deleted: bool,
    /// The user, or the name of the program, that wrote it.
    pub sender: String,
    /// The sender of the path's first version, or of the first one after a tombstone.
    pub creator: String,
    /// The time of the write.
    pub updated_at: Timestamp,
}

impl Row {
    /// `utf-8`, or `base64` for content in storage.
    pub fn encoding(&self) -> &'static str {
        if self.in_storage { "base64" } else { "utf-8" }
    }

    /// The content of the table's column: `None` for a tombstone and for content in storage.
    pub fn text(&self) -> Option<&str> {
        let bytes = self.bytes.as_ref().filter(|_| !self.in_storage)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// The project's newest revision and stored digest, as `project_head` gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The newest revision; 0 for an empty project.
    pub revision: u64,
    /// The digest of the live files, 64 hex digits.
    pub digest: String,
}

/// Head revision and live files in one snapshot of the data.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProjectState {
    pub revision: u64,
    /// In the order of their paths.
    pub files: Vec<Row>,
}

/// The result of a bulk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// The revision of the transaction, or the head where nothing changed.
    pub revision: u64,
    /// The newest row of each entry, in the order of the entries.
    pub files: Vec<Row>,
}

/// One committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// The user, or the name of the program, that wrote it.
    pub sender: String,
    /// The rows that it wrote.
    pub files: Vec<ChangedFile>,
}

/// One row of a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// The file's path, relative to the project's root.
    pub path: String,
    /// Its new version.
    pub version: u64,
    /// Sha256 of the bytes in lower-case hex; `None` for a tombstone.
    pub content_hash: Option<String>,
    /// The file's bytes; `None` for a tombstone.
    pub bytes: Option<Bytes>,
    /// This row is a tombstone.
    pub deleted: bool,
}

impl From<&Row> for ChangedFile {
    fn from(row: &Row) -> ChangedFile {
        ChangedFile {
            path: row.path.clone(),
            version: row.version,
            content_hash: row.content_hash.clone(),
            bytes: row.bytes.clone(),
            deleted: row.deleted,
        }
    }
}
