//! A database that is always right: the rows, the read functions, and the events that its transactions make.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sync_core::{ContentHash, ReadError, TableDigest};

use crate::random::Random;

#[derive(Clone)]
pub struct Row {
    pub version: u64,
    pub revision: u64,
    pub content: String,
    pub hash: ContentHash,
    pub deleted: bool,
    /// Its content is in storage, not in the row.
    pub stored: bool,
    /// Sent in base64.
    base64: bool,
}

#[derive(Clone, Default)]
pub struct Database {
    pub rows: BTreeMap<String, Row>,
    pub head: u64,
    /// Tombstones up to this revision were pruned.
    floor: u64,
    /// Versions of pruned tombstones: a path that is created again continues from there.
    versions: BTreeMap<String, u64>,
    /// Every object and version there ever was.
    objects: BTreeMap<ContentHash, String>,
    old: BTreeMap<(String, u64), Row>,
    /// The stored digest is wrong: a fault of the database.
    pub digest_is_wrong: bool,
    /// Answers have no digest.
    without_digest: bool,
}

/// The event and the rows of a transaction.
pub struct Commit {
    pub event: &'static str,
    pub payload: Value,
    /// The rows that it wrote, as `postgres_changes` shows them.
    pub records: Vec<Value>,
}

/// Rows of one page; small, so that there are many pages.
const PAGE: usize = 4;

impl Database {
    pub fn new(with_digest: bool) -> Database {
        Database { without_digest: !with_digest, ..Database::default() }
    }

    /// One transaction over random paths.
    pub fn commit(&mut self, random: &mut Random, paths: &[&str], omit: bool) -> Commit {
        let count = if random.percent(25) { 2 + random.below(5) } else { 1 };
        let mut names: Vec<&str> = Vec::new();
        while names.is_empty() {
            for _ in 0..count {
                // Some files are saved often.
                let often = random.percent(40);
                let path = *random.pick(if often { &paths[10..14] } else { paths });
                if !names.contains(&path) && self.change(random, path) {
                    names.push(path);
                }
            }
        }
        self.head += 1;
        let mut files: Vec<Value> = names.iter().map(|path| self.entry(path, omit)).collect();
        let records = names.iter().map(|path| self.record(path)).collect();
        if files.len() == 1 && random.percent(80) {
            let mut payload = files.remove(0);
            payload["revision"] = self.head.into();
            let event = if payload["action"] == "delete" { "file:delete" } else { "file:update" };
            return Commit { event, payload, records };
        }
        let mut payload = json!({"count": files.len(), "files": files, "revision": self.head});
        match random.below(20) {
            0 => {
                payload["files"] = json!([]);
                payload["files_omitted"] = true.into();
            }
            1 => payload["count"] = (names.len() + 1).into(),
            _ => {}
        }
        Commit { event: "bulk:apply", payload, records }
    }

    /// One file, saved after its event was sent.
    pub fn save(&mut self, path: &str, content: &str) -> Option<Commit> {
        let old = self.rows.get(path);
        if old.is_some_and(|row| !row.deleted && row.content == content) || self.in_the_way(path) {
            return None;
        }
        self.put(path, content.into(), false, false, false);
        self.head += 1;
        let mut payload = self.entry(path, false);
        payload["revision"] = self.head.into();
        Some(Commit { event: "file:update", payload, records: vec![self.record(path)] })
    }

    /// A random change of one path in the running transaction; false where it would change nothing.
    fn change(&mut self, random: &mut Random, path: &str) -> bool {
        let live = self.rows.get(path).filter(|row| !row.deleted);
        if live.is_some() && random.percent(25) {
            self.put(path, String::new(), true, false, false);
            return true;
        }
        let content = format!("{path} {}", random.below(6));
        // No tree holds a file and a directory of one name: the editor deletes what is in the way.
        if live.is_some_and(|row| row.content == content) || self.in_the_way(path) {
            return false;
        }
        let (stored, base64) = (random.percent(10), random.percent(10));
        self.put(path, content, false, stored, base64);
        true
    }

    fn put(&mut self, path: &str, content: String, deleted: bool, stored: bool, base64: bool) {
        let pruned = self.versions.get(path).copied().unwrap_or(0);
        let version = self.rows.get(path).map_or(pruned, |row| row.version) + 1;
        let hash = ContentHash::of(content.as_bytes());
        self.objects.insert(hash, content.clone());
        let row = Row { version, revision: self.head + 1, content, hash, deleted, stored, base64 };
        self.old.insert((path.into(), version), row.clone());
        self.rows.insert(path.into(), row);
    }

    /// A row as an event has it.
    fn entry(&self, path: &str, omit: bool) -> Value {
        let row = &self.rows[path];
        if row.deleted {
            return json!({"file_path": path, "version": row.version, "action": "delete"});
        }
        let mut entry = json!({"file_path": path, "version": row.version, "action": "update",
            "content_hash": row.hash.to_string(), "size": row.content.len()});
        if row.stored || omit {
            entry["content_omitted"] = true.into();
        } else {
            entry["content"] = row.encoded().into();
            entry["encoding"] = row.encoding().into();
        }
        entry
    }

    fn record(&self, path: &str) -> Value {
        let row = &self.rows[path];
        json!({"file_path": path, "version": row.version, "is_deleted": row.deleted,
            "content": if row.deleted || row.stored { Value::Null } else { row.encoded().into() },
            "encoding": row.encoding(), "content_hash": row.hash.to_string()})
    }

    fn in_the_way(&self, path: &str) -> bool {
        let live = |other: &str| self.rows.get(other).is_some_and(|row| !row.deleted);
        let above = path.match_indices('/').any(|(at, _)| live(&path[..at]));
        let inside = format!("{path}/");
        above || self.rows.iter().any(|(other, row)| !row.deleted && other.starts_with(&inside))
    }

    /// Forgets tombstones up to `floor`.
    pub fn prune(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(self.head));
        let floor = self.floor;
        let versions = &mut self.versions;
        self.rows.retain(|path, row| {
            let kept = !row.deleted || row.revision > floor;
            if !kept {
                versions.insert(path.clone(), row.version);
            }
            kept
        });
    }

    /// Old versions are gone.
    pub fn forget_old(&mut self) {
        let rows = &self.rows;
        self.old.retain(|(path, version), _| rows.get(path).is_some_and(|row| row.version == *version));
    }

    pub fn live(&self) -> impl Iterator<Item = (&String, &Row)> {
        self.rows.iter().filter(|(_, row)| !row.deleted)
    }

    fn digest(&self) -> Value {
        if self.without_digest {
            return Value::Null;
        }
        let mut digest = TableDigest::default();
        self.live().for_each(|(path, row)| digest.toggle(path, row.version, &row.hash));
        if self.digest_is_wrong {
            digest.toggle("an accident", 1, &ContentHash::of(b""));
        }
        digest.to_string().into()
    }

    pub fn head_answer(&self) -> Value {
        json!({"head_revision": self.head, "digest": self.digest()})
    }

    pub fn changes(&self, since: u64, with_content: bool) -> Value {
        let listed = |path: &String, row: &Row, with_content: bool| {
            let omitted = !with_content || row.stored;
            json!({
                "file_path": path, "version": row.version, "revision": row.revision, "is_deleted": row.deleted,
                "content_hash": if row.deleted { Value::Null } else { row.hash.to_string().into() },
                "size": row.content.len(), "encoding": row.encoding(), "content_omitted": omitted && !row.deleted,
                "content": if omitted || row.deleted { Value::Null } else { row.encoded().into() },
            })
        };
        let mut answer = json!({"head_revision": self.head, "complete": true, "digest": self.digest()});
        if since > 0 && (since < self.floor || since > self.head) {
            answer["reset"] = true.into();
            answer["files"] = self.live().map(|(path, row)| listed(path, row, false)).collect();
            return answer;
        }
        let mut rows: Vec<(&String, &Row)> = self.rows.iter().filter(|(_, row)| row.revision > since).collect();
        rows.sort_by_key(|(_, row)| row.revision);
        let mut end = rows.len().min(PAGE);
        while end > 0 && end < rows.len() && rows[end].1.revision == rows[end - 1].1.revision {
            end += 1;
        }
        answer["complete"] = (end == rows.len()).into();
        answer["files"] = rows[..end].iter().map(|(path, row)| listed(path, row, with_content)).collect();
        answer
    }

    pub fn file(&self, path: &str, version: u64) -> Result<Value, ReadError> {
        let row = self.old.get(&(path.to_owned(), version)).filter(|row| !row.deleted).ok_or(ReadError::Gone)?;
        Ok(row.with_content(path))
    }

    pub fn object(&self, wanted: ContentHash) -> Result<String, ReadError> {
        self.objects.get(&wanted).cloned().ok_or(ReadError::Gone)
    }

    pub fn current_files(&self, after: &str) -> Value {
        let rows = self.live().filter(|(path, _)| path.as_str() > after).take(PAGE);
        rows.map(|(path, row)| json!({"file_path": path, "version": row.version, "content_hash": row.hash.to_string()}))
            .collect()
    }

    pub fn current_file(&self, path: &str) -> Value {
        let row = self.rows.get(path).filter(|row| !row.deleted);
        Value::Array(row.map(|row| row.with_content(path)).into_iter().collect())
    }
}

impl Row {
    fn encoding(&self) -> &'static str {
        if self.base64 { "base64" } else { "utf-8" }
    }

    /// The content as JSON has it.
    fn encoded(&self) -> String {
        if self.base64 { STANDARD.encode(&self.content) } else { self.content.clone() }
    }

    fn with_content(&self, path: &str) -> Value {
        json!({
            "file_path": path, "version": self.version, "content_hash": self.hash.to_string(),
            "encoding": self.encoding(), "size": self.content.len(),
            "content": if self.stored { Value::Null } else { self.encoded().into() },
        })
    }
}
