//! The shapes of the read functions' answers.

use bytes::Bytes;
use serde::Deserialize;

use crate::files::digest::TableDigest;
use crate::files::table::{Row, RowState};
use crate::wire::event_payload::decode;
use crate::{ContentHash, Revision, Version};

/// Why an answer is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer of {function} has an unexpected shape")]
    Shape { function: &'static str, source: serde_json::Error },
    #[error("{function} gave {path:?} no usable content hash")]
    NoHash { function: &'static str, path: String },
    #[error("{function} gave no usable digest")]
    NoDigest { function: &'static str },
    #[error("{function} answered for another file or version")]
    OtherFile { function: &'static str },
}

/// `list_project_changes`.
#[derive(Debug)]
pub(crate) struct Changes {
    pub head: Revision,
    pub complete: bool,
    pub reset: bool,
    /// The stored digest at `head`, where given.
    pub digest: Option<TableDigest>,
    pub files: Vec<Listed>,
}

/// One row of a listing.
#[derive(Debug)]
pub(crate) struct Listed {
    pub path: String,
    pub row: Row,
    pub content: Option<Bytes>,
}

impl Changes {
    pub fn read(json: &[u8]) -> Result<Changes, AnswerError> {
        let function = "list_project_changes";
        let wire: WireChanges =
            serde_json::from_slice(json).map_err(|source| AnswerError::Shape { function, source })?;
        let files = wire.files.into_iter().map(|row| row.listed(function)).collect::<Result<_, _>>()?;
        Ok(Changes {
            head: wire.head_revision,
            complete: wire.complete,
            reset: wire.reset.unwrap_or(false),
            digest: wire.digest.as_deref().and_then(TableDigest::parse),
            files,
        })
    }
}

/// `project_head`.
#[derive(Debug)]
pub(crate) struct Head {
    pub head: Revision,
    pub digest: TableDigest,
}

impl Head {
    pub fn read(json: &[u8]) -> Result<Head, AnswerError> {
        let function = "project_head";
        let wire: WireHead = serde_json::from_slice(json).map_err(|source| AnswerError::Shape { function, source })?;
        let digest = TableDigest::parse(&wire.digest).ok_or(AnswerError::NoDigest { function })?;
        Ok(Head { head: wire.head_revision, digest })
    }
}

/// `get_project_file`, or one row of `list_current_files` with content.
#[derive(Debug)]
pub(crate) struct FileContent {
    pub hash: ContentHash,
    /// `None`: it is in storage.
    pub content: Option<Bytes>,
}

impl FileContent {
    pub fn read(json: &[u8], path: &str) -> Result<FileContent, AnswerError> {
        let function = "get_project_file";
        let wire: WireRow = serde_json::from_slice(json).map_err(|source| AnswerError::Shape { function, source })?;
        wire.file_content(function, path)
    }

    /// `None`: there is no such row.
    pub fn read_current(json: &[u8], path: &str) -> Result<Option<FileContent>, AnswerError> {
        let function = "list_current_files";
        let rows: Vec<WireRow> =
            serde_json::from_slice(json).map_err(|source| AnswerError::Shape { function, source })?;
        rows.into_iter().next().map(|row| row.file_content(function, path)).transpose()
    }
}

/// `list_current_files` without content: one page. The revisions are 0: the listing has none.
pub(crate) fn read_current_files(json: &[u8]) -> Result<Vec<Listed>, AnswerError> {
    let function = "list_current_files";
    let rows: Vec<WireRow> = serde_json::from_slice(json).map_err(|source| AnswerError::Shape { function, source })?;
    rows.into_iter().map(|row| row.listed(function)).collect()
}

#[derive(Deserialize)]
struct WireChanges {
    head_revision: Revision,
    complete: bool,
    #[serde(default)]
    reset: Option<bool>,
    #[serde(default)]
    digest: Option<String>,
    files: Vec<WireRow>,
}

#[derive(Deserialize)]
struct WireHead {
    head_revision: Revision,
    digest: String,
}

#[derive(Deserialize)]
struct WireRow {
    file_path: String,
    version: Version,
    #[serde(default)]
    revision: Option<Revision>,
    #[serde(default)]
    content_hash: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_omitted: Option<bool>,
    #[serde(default)]
    is_deleted: Option<bool>,
}

impl WireRow {
    fn hash(&self, function: &'static str) -> Result<ContentHash, AnswerError> {
        let hash = self.content_hash.as_deref().and_then(|hash| ContentHash::parse(hash).ok());
        hash.ok_or_else(|| AnswerError::NoHash { function, path: self.file_path.chars().take(200).collect() })
    }

    fn listed(self, function: &'static str) -> Result<Listed, AnswerError> {
        let state = match self.is_deleted {
            Some(true) => RowState::Tombstone,
            _ => RowState::Live { hash: self.hash(function)?, size: self.size },
        };
        let row = Row { version: Some(self.version), revision: self.revision.unwrap_or(0), state };
        let content = match self.content_omitted {
            Some(true) => None,
            _ => self.content.and_then(|content| decode(content, self.encoding.as_deref())),
        };
        Ok(Listed { path: self.file_path, row, content })
    }

    fn file_content(self, function: &'static str, path: &str) -> Result<FileContent, AnswerError> {
        if self.file_path != path {
            return Err(AnswerError::OtherFile { function });
        }
        let hash = self.hash(function)?;
        let content = self.content.and_then(|content| decode(content, self.encoding.as_deref()));
        Ok(FileContent { hash, content })
    }
}
