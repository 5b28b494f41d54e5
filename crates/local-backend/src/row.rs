use bytes::Bytes;
use jiff::Timestamp;

/// What a caller saves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// Kept in the table. Text with a NUL, which no PostgreSQL text can hold, is stored as binary.
    Text(String),
    /// Kept in storage, bucket `project-assets`; the table holds hash and size.
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
    /// Which file.
    pub path: String,
    /// Its new content; nothing deletes it.
    pub content: Option<FileContent>,
    /// The version that the writer has seen; 0 for a file that must not be there.
    pub expected_version: Option<u64>,
}

/// One row of the table: a version of a file, or the tombstone that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row's own UUID.
    pub id: String,
    /// The row before it; nothing for a path's first.
    pub parent_id: Option<String>,
    /// The file's path.
    pub path: String,
    /// `p_file_type` as the writer gave it, else the one before, else `text`, or `binary` in storage.
    pub file_type: String,
    /// Counts up from 1 for each path, over tombstones too.
    pub version: u64,
    /// The revision that it came with.
    pub revision: u64,
    /// Sha256 of the bytes in lower-case hex; nothing for a tombstone.
    pub content_hash: Option<String>,
    /// Bytes; 0 for a tombstone.
    pub size: u64,
    /// The file's bytes; nothing for a tombstone.
    pub bytes: Option<Bytes>,
    /// The content lies in storage, the table's own is null.
    pub in_storage: bool,
    /// This is a tombstone.
    pub deleted: bool,
    /// Who wrote it.
    pub sender: String,
    /// Who wrote its first version, or the first after a tombstone.
    pub creator: String,
    /// When it was written.
    pub updated_at: Timestamp,
}

impl Row {
    /// `utf-8`, or `base64` for what lies in storage.
    pub fn encoding(&self) -> &'static str {
        if self.in_storage { "base64" } else { "utf-8" }
    }

    /// The content as the table has it: nothing for a tombstone and for what lies in storage.
    pub fn text(&self) -> Option<&str> {
        let bytes = self.bytes.as_ref().filter(|_| !self.in_storage)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// What a bulk made.
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
    /// Who wrote it.
    pub sender: String,
    /// The rows it made.
    pub files: Vec<ChangedFile>,
}

/// One row of a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// The file's path.
    pub path: String,
    /// Its new version.
    pub version: u64,
    /// Sha256 in hex; nothing for a tombstone.
    pub content_hash: Option<String>,
    /// The bytes; nothing for a tombstone.
    pub bytes: Option<Bytes>,
    /// This is a tombstone.
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
