//! A database that is always right: the rows, the read functions, and the events that its transactions make.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sync_core::{ContentHash, ReadError, TableDigest};

use crate::dice::Dice;

#[derive(Clone)]
pub struct Row {
    pub version: u64,
    pub revision: u64,
    pub content: String,
    pub deleted: bool,
    /// Its content lies in storage, not in the row.
    pub stored: bool,
}

#[derive(Clone, Default)]
pub struct Database {
    pub rows: BTreeMap<String, Row>,
    pub head: u64,
    /// Tombstones up to here are gone.
    floor: u64,
    /// Versions of pruned tombstones: a path that comes again goes on from there.
    versions: BTreeMap<String, u64>,
    /// Every object and version there ever was.
    objects: BTreeMap<ContentHash, String>,
    old: BTreeMap<(String, u64), Row>,
    /// The stored digest is wrong: an accident of the database's own.
    pub digest_lies: bool,
}

fn hash(content: &str) -> ContentHash {
    ContentHash::of(content.as_bytes())
}

/// Rows of one page; small, so that there are many pages.
const PAGE: usize = 4;

impl Database {
    /// One transaction over random paths; the payload of its event, or none where nothing changed.
    pub fn commit(&mut self, dice: &mut Dice, paths: &[&str], omit: bool) -> Option<(&'static str, Value)> {
        let revision = self.head + 1;
        let count = if dice.percent(25) { 2 + dice.below(5) } else { 1 };
        let mut files = Vec::new();
        for _ in 0..count {
            let path = *dice.pick(paths);
            if files.iter().any(|file: &Value| file["file_path"] == path) {
                continue;
            }
            let old = self.rows.get(path).cloned();
            let live = old.as_ref().is_some_and(|row| !row.deleted);
            let version = old.as_ref().map_or(self.versions.get(path).copied().unwrap_or(0), |row| row.version) + 1;
            let deleted = live && dice.percent(25);
            let content = if deleted { String::new() } else { format!("{path} {}", dice.below(6)) };
            if !deleted && live && old.as_ref().is_some_and(|row| row.content == content) {
                continue;
            }
            // No tree holds a file and a directory of one name: the editor deletes what is in the way.
            if !deleted && self.in_the_way(path) {
                continue;
            }
            let stored = !deleted && dice.percent(10);
            let row = Row { version, revision, content: content.clone(), deleted, stored };
            self.objects.insert(hash(&content), content.clone());
            self.old.insert((path.into(), version), row.clone());
            self.rows.insert(path.into(), row);
            let mut file = json!({"file_path": path, "version": version});
            if deleted {
                file["action"] = "delete".into();
            } else {
                file["action"] = "update".into();
                file["content_hash"] = hash(&content).to_string().into();
                if stored || omit {
                    file["content_omitted"] = true.into();
                } else {
                    file["content"] = content.into();
                }
            }
            files.push(file);
        }
        if files.is_empty() {
            return None;
        }
        self.head = revision;
        if files.len() == 1 && dice.percent(80) {
            let mut file = files.remove(0);
            file["revision"] = revision.into();
            let event = if file["action"] == "delete" { "file:delete" } else { "file:update" };
            return Some((event, file));
        }
        let mut bulk = json!({"count": files.len(), "files": files, "revision": revision});
        match dice.below(20) {
            0 => {
                bulk["files"] = json!([]);
                bulk["files_omitted"] = true.into();
            }
            1 => bulk["count"] = (files.len() + 1).into(),
            _ => {}
        }
        Some(("bulk:apply", bulk))
    }

    /// One file, saved by somebody who has told of it already.
    pub fn save(&mut self, path: &str, content: &str) -> Option<(&'static str, Value)> {
        let old = self.rows.get(path);
        if old.is_some_and(|row| !row.deleted && row.content == content) || self.in_the_way(path) {
            return None;
        }
        let version = old.map_or(self.versions.get(path).copied().unwrap_or(0), |row| row.version) + 1;
        self.head += 1;
        let row = Row { version, revision: self.head, content: content.into(), deleted: false, stored: false };
        self.objects.insert(hash(content), content.into());
        self.old.insert((path.into(), version), row.clone());
        self.rows.insert(path.into(), row);
        let hash = hash(content).to_string();
        Some((
            "file:update",
            json!({"file_path": path, "version": version, "content": content, "content_hash": hash, "revision": self.head}),
        ))
    }

    fn in_the_way(&self, path: &str) -> bool {
        let live = |other: &str| self.rows.get(other).is_some_and(|row| !row.deleted);
        let above = path.match_indices('/').any(|(at, _)| live(&path[..at]));
        let below = self.rows.iter().any(|(other, row)| !row.deleted && other.starts_with(&format!("{path}/")));
        above || below
    }

    /// Forgets tombstones up to `floor`.
    pub fn prune(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(self.head));
        let pruned: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, row)| row.deleted && row.revision <= self.floor)
            .map(|(path, _)| path.clone())
            .collect();
        for path in pruned {
            if let Some(row) = self.rows.remove(&path) {
                self.versions.insert(path, row.version);
            }
        }
    }

    /// Old versions are gone.
    pub fn forget_old(&mut self) {
        let rows = &self.rows;
        self.old.retain(|(path, version), _| rows.get(path).is_some_and(|row| row.version == *version));
    }

    pub fn live(&self) -> impl Iterator<Item = (&String, &Row)> {
        self.rows.iter().filter(|(_, row)| !row.deleted)
    }

    pub fn digest(&self) -> String {
        let mut digest = TableDigest::default();
        self.live().for_each(|(path, row)| digest.toggle(path, row.version, &hash(&row.content)));
        if self.digest_lies {
            digest.toggle("an accident", 1, &hash(""));
        }
        digest.to_string()
    }

    pub fn head_answer(&self) -> Value {
        json!({"head_revision": self.head, "digest": self.digest()})
    }

    pub fn changes(&self, since: u64, with_content: bool) -> Value {
        let listed = |path: &String, row: &Row, with_content: bool| {
            let omitted = !with_content || row.stored;
            json!({
                "file_path": path, "version": row.version, "revision": row.revision, "is_deleted": row.deleted,
                "content_hash": if row.deleted { Value::Null } else { hash(&row.content).to_string().into() },
                "size": row.content.len(), "encoding": "utf-8", "content_omitted": omitted && !row.deleted,
                "content": if omitted || row.deleted { Value::Null } else { row.content.clone().into() },
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
        Ok(json!({
            "file_path": path, "version": version, "content_hash": hash(&row.content).to_string(), "encoding": "utf-8",
            "size": row.content.len(), "content": if row.stored { Value::Null } else { row.content.clone().into() },
        }))
    }

    pub fn object(&self, wanted: ContentHash) -> Result<String, ReadError> {
        self.objects.get(&wanted).cloned().ok_or(ReadError::Gone)
    }

    pub fn current_files(&self, after: &str) -> Value {
        let rows = self.live().filter(|(path, _)| path.as_str() > after).take(PAGE);
        rows.map(|(path, row)| {
            json!({"file_path": path, "version": row.version, "content_hash": hash(&row.content).to_string()})
        })
        .collect()
    }

    pub fn current_file(&self, path: &str) -> Value {
        let row = self.rows.get(path).filter(|row| !row.deleted);
        let row = row.map(|row| {
            json!({"file_path": path, "version": row.version, "content_hash": hash(&row.content).to_string(),
                "content": if row.stored { Value::Null } else { row.content.clone().into() }})
        });
        Value::Array(row.into_iter().collect())
    }
}
