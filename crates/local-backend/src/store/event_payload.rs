//! The event of a committed transaction, as `project_sync.send_revision_event` of the database builds it.

use serde_json::{Map, Value, json};

use super::memory::Commit;
use super::project::WriteKind;
use crate::row::Row;

/// The bounds of one event, as the database's settings have them.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    /// Largest event in bytes of JSON.
    pub max_bytes: usize,
    /// Largest total of file contents in bytes.
    pub content_bytes: usize,
}

/// Whether events carry a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    Current,
    /// Without a revision, as legacy databases send them.
    Legacy,
}

/// Name and payload of an event.
pub struct Event {
    pub name: &'static str,
    pub payload: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Included,
    Omitted,
}

/// The event of a transaction. An event above the limits omits contents, and if the list itself is too large, the list.
pub fn event(commit: &Commit, limits: EventLimits, format: EventFormat) -> Event {
    let (name, mut fields) = match commit.rows.as_slice() {
        [row] if commit.kind == WriteKind::Single => single(row, limits),
        rows => ("bulk:apply", bulk(rows, limits)),
    };
    fields.insert("timestamp".into(), json!(commit.at.to_string()));
    fields.insert("sender".into(), json!(commit.sender));
    if format == EventFormat::Current {
        fields.insert("revision".into(), json!(commit.revision));
    }
    Event { name, payload: fields.into() }
}

fn single(row: &Row, limits: EventLimits) -> (&'static str, Map<String, Value>) {
    let fits = row.size <= limits.content_bytes as u64;
    let mut fields = entry(row, if fits { Content::Included } else { Content::Omitted });
    if fits && json_len(&Value::Object(fields.clone())) > limits.max_bytes {
        fields = entry(row, Content::Omitted);
    }
    fields.remove("action");
    (if row.deleted { "file:delete" } else { "file:update" }, fields)
}

/// Contents are included from the smallest on while they fit.
fn bulk(rows: &[Row], limits: EventLimits) -> Map<String, Value> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|one, other| (one.size, &one.path).cmp(&(other.size, &other.path)));
    let mut bytes_so_far = 0_u64;
    let mut entries: Vec<(&Row, Content)> = Vec::with_capacity(rows.len());
    for row in rows {
        bytes_so_far = bytes_so_far.saturating_add(row.size);
        let fits = bytes_so_far <= limits.content_bytes as u64;
        entries.push((row, if fits { Content::Included } else { Content::Omitted }));
    }
    entries.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
    let list = |omit_all: bool| -> Value {
        let content = |content: Content| if omit_all { Content::Omitted } else { content };
        entries.iter().map(|(row, fits)| Value::Object(entry(row, content(*fits)))).collect()
    };
    let count = json!(entries.len());
    for files in [list(false), list(true)] {
        if json_len(&files) <= limits.max_bytes {
            return Map::from_iter([("files".into(), files), ("count".into(), count)]);
        }
    }
    let omitted = [("files".into(), json!([])), ("count".into(), count), ("files_omitted".into(), json!(true))];
    Map::from_iter(omitted)
}

fn entry(row: &Row, content: Content) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
    set("file_path", json!(row.path));
    set("version", json!(row.version));
    if row.deleted {
        set("action", json!("delete"));
        return fields;
    }
    set("action", json!("update"));
    set("content_hash", json!(row.content_hash));
    set("size", json!(row.size));
    set("encoding", json!(row.encoding()));
    set("file_type", json!(row.file_type));
    match row.text().filter(|_| content == Content::Included) {
        Some(text) => {
            set("content", json!(text));
        }
        None => {
            set("content", Value::Null);
            set("content_omitted", json!(true));
        }
    }
    fields
}

/// The bytes of the value as PostgreSQL writes a jsonb: with a space after each colon and comma.
fn json_len(value: &Value) -> usize {
    let separators = |count: usize| count.saturating_sub(1).saturating_mul(2);
    match value {
        Value::Array(values) => {
            values.iter().map(json_len).fold(separators(values.len()).saturating_add(2), usize::saturating_add)
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| json!(name).to_string().len().saturating_add(2).saturating_add(json_len(value)))
            .fold(separators(fields.len()).saturating_add(2), usize::saturating_add),
        other => other.to_string().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_jsonb() {
        assert_eq!(json_len(&json!({"a": [1, "b"], "c": null})), r#"{"a": [1, "b"], "c": null}"#.len());
        assert_eq!(json_len(&json!([])), 2);
    }
}
