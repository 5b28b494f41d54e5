use serde_json::{Value, json};

use crate::row::Row;
use crate::store::memory::Commit;

/// Room for what `realtime.send` adds to a payload.
const HEADROOM: usize = 128;

/// The broadcast of a committed transaction: its name and payload. A payload larger than `limit` bytes leaves contents
/// out, and where even the list is too large, the list. An older database's events carry no revision.
pub fn broadcast(commit: &Commit, limit: usize, older: bool) -> (&'static str, Value) {
    let limit = limit.saturating_sub(HEADROOM);
    let (name, mut payload) = match &commit.rows[..] {
        [row] if !commit.bulk => single(row, limit),
        rows => bulk(rows, limit),
    };
    payload["timestamp"] = json!(commit.at.to_string());
    payload["sender"] = json!(commit.sender);
    if !older {
        payload["revision"] = json!(commit.revision);
    }
    (name, payload)
}

fn single(row: &Row, limit: usize) -> (&'static str, Value) {
    if row.deleted {
        return ("file:delete", json!({"file_path": row.path, "version": row.version}));
    }
    let mut budget = limit.saturating_sub(row.path.len() * 2 + 512);
    ("file:update", update(row, &mut budget))
}

fn bulk(rows: &[Row], limit: usize) -> (&'static str, Value) {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|one, other| one.path.cmp(&other.path));
    let bare: usize = rows.iter().map(|row| entry(row, &mut 0).to_string().len() + 1).sum();
    if bare > limit {
        return ("bulk:apply", json!({"files": [], "count": rows.len(), "files_omitted": true}));
    }
    let mut budget = limit - bare;
    let files: Vec<Value> = rows.iter().map(|row| entry(row, &mut budget)).collect();
    ("bulk:apply", json!({"files": files, "count": rows.len()}))
}

fn entry(row: &Row, budget: &mut usize) -> Value {
    if row.deleted {
        return json!({"action": "delete", "file_path": row.path, "version": row.version});
    }
    let mut entry = update(row, budget);
    entry["action"] = json!("update");
    entry
}

/// With content where it is text and fits what is left of the budget.
fn update(row: &Row, budget: &mut usize) -> Value {
    let mut update = json!({
        "file_path": row.path, "content_hash": row.content_hash, "version": row.version,
        "file_type": row.file_type, "encoding": row.encoding(), "size": row.size,
    });
    match row.text().filter(|text| fits(text, budget)) {
        Some(text) => update["content"] = json!(text),
        None => {
            update["content"] = Value::Null;
            update["content_omitted"] = json!(true);
        }
    }
    update
}

/// As JSON, where every quote, backslash and line break is longer.
fn fits(text: &str, budget: &mut usize) -> bool {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    let Some(left) = text.bytes().try_fold(*budget, |left, byte| left.checked_sub(escaped(byte))) else {
        return false;
    };
    *budget = left;
    true
}
