use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::timestamp;
use crate::{ContentHash, Revision, Version};

/// One change of a project's files, as an event describes it: one committed transaction, where it has a revision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// `None` from a legacy or optimistic sender: provisional.
    pub revision: Option<Revision>,
    /// Unix milliseconds, for information only.
    pub sent_at_ms: Option<u64>,
    /// Sent as a bulk, whatever the number of entries.
    pub bulk: bool,
    /// The list is not the whole change: `files_omitted`, or a count that does not match.
    pub partial: bool,
    pub entries: Vec<Entry>,
}

/// The change of one file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// As the sender spells it: not checked yet.
    pub path: String,
    pub version: Option<Version>,
    pub kind: EntryKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EntryKind {
    Delete,
    Update { hash: Option<ContentHash>, size: Option<u64>, content: Option<Bytes> },
}

/// An event that this agent acts on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DecodedEvent {
    Change(Change),
    /// `snapshot:ready`: a newer snapshot exists.
    SnapshotReady {
        revision: Option<Revision>,
    },
    /// An event with another name.
    Unknown,
}

/// Why an event is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the payload of {event} has an unexpected shape")]
    Shape { event: ProjectEvent, source: serde_json::Error },
    #[error("the payload of {event} names no file")]
    NoPath { event: ProjectEvent },
    #[error("the payload of {event} has the unknown action {action:?}")]
    UnknownAction { event: ProjectEvent, action: String },
}

/// The most files one bulk may name: the write function's own limit.
pub(crate) const MAX_BULK: usize = 10_000;

crate::code_enum! {
    /// An event of the project's topic that the agent acts on.
    pub enum ProjectEvent {
        /// One file was written.
        FileUpdate = "file:update",
        /// One file was deleted.
        FileDelete = "file:delete",
        /// Several files changed in one transaction.
        BulkApply = "bulk:apply",
        /// The legacy name of `bulk:apply`.
        FileBulkUpdate = "file:bulk-update",
        /// A newer snapshot exists.
        SnapshotReady = "snapshot:ready",
    }
}

/// What an entry does where it does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryAction {
    Update,
    Delete,
    /// As its field `action` says.
    Stated,
}

/// Whether an event has a meaning for the project's files.
pub(crate) fn is_project_event(name: &str) -> bool {
    ProjectEvent::ALL.into_iter().any(|event| event.as_str() == name)
}

/// Decodes the payload of a broadcast.
pub(crate) fn read_event(name: &str, payload: &[u8]) -> Result<DecodedEvent, ChangeError> {
    let Some(event) = ProjectEvent::ALL.into_iter().find(|event| event.as_str() == name) else {
        return Ok(DecodedEvent::Unknown);
    };
    let shape = |source| ChangeError::Shape { event, source };
    let single = |action| -> Result<Vec<Entry>, ChangeError> {
        Ok(vec![serde_json::from_slice::<File>(payload).map_err(shape)?.entry(event, action)?])
    };
    let head: EventHead = serde_json::from_slice(payload).map_err(shape)?;
    let (bulk, entries) = match event {
        ProjectEvent::SnapshotReady => return Ok(DecodedEvent::SnapshotReady { revision: head.revision }),
        ProjectEvent::FileUpdate => (false, single(EntryAction::Update)?),
        ProjectEvent::FileDelete => (false, single(EntryAction::Delete)?),
        ProjectEvent::BulkApply | ProjectEvent::FileBulkUpdate => {
            let bulk: Bulk = serde_json::from_slice(payload).map_err(shape)?;
            let entries = bulk.files.into_iter().map(|file| file.entry(event, EntryAction::Stated));
            (true, entries.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let miscounted = bulk && head.count.is_some_and(|count| count != entries.len() as u64);
    Ok(DecodedEvent::Change(Change {
        revision: head.revision,
        sent_at_ms: head.timestamp,
        bulk,
        partial: head.files_omitted.unwrap_or(false) || miscounted || entries.len() > MAX_BULK,
        entries,
    }))
}

/// Reads the record of a `postgres_changes` row, where it has one and names its file.
pub(crate) fn read_row(payload: &[u8]) -> Option<Entry> {
    let row: RowChange = serde_json::from_slice(payload).ok()?;
    let file = row.data.record?;
    let action = match file.is_deleted {
        Some(true) => EntryAction::Delete,
        _ => EntryAction::Stated,
    };
    file.entry(ProjectEvent::FileUpdate, action).ok()
}

#[derive(Deserialize)]
struct EventHead {
    #[serde(default)]
    revision: Option<Revision>,
    #[serde(default, deserialize_with = "timestamp::lenient")]
    timestamp: Option<u64>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    files_omitted: Option<bool>,
}

#[derive(Deserialize)]
struct Bulk {
    #[serde(default)]
    files: Vec<File>,
}

#[derive(Deserialize)]
struct RowChange {
    data: RowData,
}

#[derive(Deserialize)]
struct RowData {
    #[serde(default)]
    record: Option<File>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    file_path: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    version: Option<Version>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_hash: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    content_omitted: Option<bool>,
    #[serde(default)]
    is_deleted: Option<bool>,
}

impl File {
    fn entry(self, event: ProjectEvent, action: EntryAction) -> Result<Entry, ChangeError> {
        let path = self.file_path.or(self.path).ok_or(ChangeError::NoPath { event })?;
        let is_delete = match (action, self.action.as_deref()) {
            (EntryAction::Update, _) | (EntryAction::Stated, None | Some("update")) => false,
            (EntryAction::Delete, _) | (EntryAction::Stated, Some("delete")) => true,
            (EntryAction::Stated, Some(other)) => {
                let action = other.chars().take(40).collect();
                return Err(ChangeError::UnknownAction { event, action });
            }
        };
        let kind = if is_delete {
            EntryKind::Delete
        } else {
            EntryKind::Update {
                hash: self.content_hash.and_then(|hash| ContentHash::parse(&hash).ok()),
                size: self.size,
                content: match self.content_omitted {
                    Some(true) => None,
                    _ => self.content.and_then(|content| decode(content, self.encoding.as_deref())),
                },
            }
        };
        Ok(Entry { path, version: self.version, kind })
    }
}

/// The bytes of a `content`, or nothing where it cannot be decoded: then it is fetched.
pub(crate) fn decode(content: String, encoding: Option<&str>) -> Option<Bytes> {
    match encoding {
        None | Some("utf-8" | "utf8") => Some(Bytes::from(content)),
        Some("base64") => STANDARD.decode(content).ok().map(Bytes::from),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(event: &str, payload: &str) -> Change {
        match read_event(event, payload.as_bytes()) {
            Ok(DecodedEvent::Change(change)) => change,
            other => panic!("{event} {payload}: {other:?}"),
        }
    }

    #[test]
    fn reads_a_single_file() {
        let hello = ContentHash::of(b"hello");
        let update = change(
            "file:update",
            &format!(
                r#"{{"file_path":"a.txt","content":"hello","content_hash":"{hello}","version":3,"timestamp":"2026-11-21T02:51:36.878Z","sender":"x","revision":7,"new_field":[1]}}"#
            ),
        );
        let kind = EntryKind::Update { hash: Some(hello), size: None, content: Some(Bytes::from_static(b"hello")) };
        assert_eq!(update.entries, [Entry { path: "a.txt".into(), version: Some(3), kind }]);
        assert_eq!((update.revision, update.sent_at_ms), (Some(7), Some(1_795_229_496_878)));
        assert!(!update.partial && !update.bulk);
        let delete = change("file:delete", r#"{"path":"a.txt","version":4,"timestamp":1795229496878,"revision":8}"#);
        assert_eq!(delete.entries, [Entry { path: "a.txt".into(), version: Some(4), kind: EntryKind::Delete }]);
    }

    #[test]
    fn decodes_base64_and_leaves_out_what_is_omitted_or_unknown() {
        let content = |payload: &str| match change("file:update", payload).entries.remove(0).kind {
            EntryKind::Update { content, .. } => content,
            EntryKind::Delete => panic!("no delete"),
        };
        assert_eq!(
            content(r#"{"path":"a","content":"AP8=","encoding":"base64"}"#),
            Some(Bytes::from_static(b"\x00\xff"))
        );
        assert_eq!(content(r#"{"path":"a","content":""}"#), Some(Bytes::new()));
        for omitted in [
            r#"{"path":"a","content":"AP8","encoding":"base64"}"#,
            r#"{"path":"a","content":"x","encoding":"rot13"}"#,
            r#"{"path":"a","content":"x","content_omitted":true}"#,
            r#"{"path":"a","content":null}"#,
            r#"{"path":"a"}"#,
        ] {
            assert_eq!(content(omitted), None, "{omitted}");
        }
    }

    #[test]
    fn reads_bulks_of_both_names() {
        let bulk = change(
            "bulk:apply",
            r#"{"files":[{"action":"update","file_path":"a","content":"x","version":2},{"action":"delete","file_path":"b","version":3}],"count":2,"revision":5}"#,
        );
        assert!(bulk.bulk && !bulk.partial);
        assert_eq!(bulk.entries.len(), 2);
        assert_eq!(bulk.entries[1].kind, EntryKind::Delete);
        let older = change("file:bulk-update", r#"{"files":[{"path":"a","content":"x"}]}"#);
        assert_eq!((older.entries[0].path.as_str(), older.entries[0].version, older.revision), ("a", None, None));
        assert!(change("bulk:apply", r#"{"files_omitted":true,"count":12,"revision":5}"#).partial);
        assert!(change("bulk:apply", r#"{"files":[{"path":"a"}],"count":2,"revision":5}"#).partial);
    }

    #[test]
    fn unknown_events_are_ignored_and_malformed_ones_rejected_with_specific_error() {
        assert_eq!(read_event("cursor:move", b"\xff").unwrap(), DecodedEvent::Unknown);
        let ready = read_event("snapshot:ready", br#"{"snapshot_url":"https://x/y","revision":9}"#).unwrap();
        assert_eq!(ready, DecodedEvent::SnapshotReady { revision: Some(9) });
        let refused = |event, payload: &str| read_event(event, payload.as_bytes()).unwrap_err();
        assert!(matches!(refused("file:update", r#"{"content":"x"}"#), ChangeError::NoPath { .. }));
        for payload in [
            "",
            "7",
            r#"{"path":7}"#,
            r#"{"path":"a","version":-1}"#,
            r#"{"path":"a","revision":"x"}"#,
            "{\"path\":\"\\ud800\"}",
        ] {
            assert!(matches!(refused("file:update", payload), ChangeError::Shape { .. }), "{payload}");
        }
        let odd = refused("bulk:apply", r#"{"files":[{"path":"a","action":"explode"}]}"#);
        assert!(matches!(odd, ChangeError::UnknownAction { .. }));
    }

    #[test]
    fn reads_the_record_of_a_row() {
        let row = read_row(br#"{"data":{"table":"project_files","type":"INSERT","record":{"id":"x","file_path":"a","version":2,"content":"x","is_deleted":false},"columns":[],"errors":null},"ids":[1]}"#);
        assert_eq!(row.map(|entry| (entry.path, entry.version)), Some(("a".into(), Some(2))));
        assert_eq!(read_row(br#"{"data":{"type":"DELETE","old_record":{"id":"x"}}}"#), None);
    }
}
