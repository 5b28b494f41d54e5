use serde::{Deserialize, Serialize};

use crate::{ContentHash, Revision, Version};

/// The state that a later start continues from, so that it reads only the difference: the table and the known revision.
///
/// It may be older than the directory: the content of the directory is compared with it, and with what changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// UUID of the project.
    pub project_id: String,
    /// Everything up to this revision was accepted.
    pub revision: Revision,
    /// The table, tombstones included.
    pub rows: Vec<SavedRow>,
    /// Owned files that the project's own code changed, and that are not put back.
    pub local: Vec<SavedLocal>,
}

/// A local change, as it was last observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLocal {
    /// As the database spells it.
    pub path: String,
    /// The hash of the content; `None`: no file.
    pub hash: Option<ContentHash>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRow {
    /// As the database spells it.
    pub path: String,
    /// `None` where it came from a snapshot without manifest.
    pub version: Option<Version>,
    /// The revision it came with.
    pub revision: Revision,
    /// The hash of the content; `None`: a tombstone.
    pub hash: Option<ContentHash>,
    /// Bytes, where known.
    pub size: Option<u64>,
}

/// Why saved state is not used: the agent starts without it then.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SavedError {
    #[error("the state is damaged: its checksum does not match")]
    Damaged,
    #[error("the state cannot be read")]
    Malformed(#[source] serde_json::Error),
    #[error("the state has the unknown format {0}")]
    UnknownFormat(u32),
    #[error("the state belongs to project {0:?}")]
    OtherProject(String),
    #[error("the state has a malformed hash for {path:?}")]
    BadHash { path: String },
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Wire {
    format: u32,
    project_id: String,
    revision: Revision,
    rows: Vec<WireRow>,
    #[serde(default)]
    local: Vec<(String, Option<String>)>,
}

/// Path, version, revision, hash (none: a tombstone), size.
type WireRow = (String, Option<Version>, Revision, Option<String>, Option<u64>);

impl Saved {
    /// One line with the sha256 of the rest, then JSON.
    pub fn encode(&self) -> String {
        let rows = self
            .rows
            .iter()
            .map(|row| (row.path.clone(), row.version, row.revision, row.hash.map(|hash| hash.to_string()), row.size));
        let (project_id, revision) = (self.project_id.clone(), self.revision);
        let local = self.local.iter().map(|local| (local.path.clone(), local.hash.map(|hash| hash.to_string())));
        let wire = Wire { format: FORMAT, project_id, revision, rows: rows.collect(), local: local.collect() };
        // Only maps whose keys are not strings can fail, and there are none.
        let json = serde_json::to_string(&wire).unwrap_or_default();
        format!("{}\n{json}", ContentHash::of(json.as_bytes()))
    }

    /// Reads what [`Saved::encode`] wrote for this project.
    pub fn decode(bytes: &[u8], project_id: &str) -> Result<Saved, SavedError> {
        let (checksum, json) = bytes.split_at_checked(64).ok_or(SavedError::Damaged)?;
        let json = json.strip_prefix(b"\n").ok_or(SavedError::Damaged)?;
        if ContentHash::of(json).to_string().as_bytes() != checksum {
            return Err(SavedError::Damaged);
        }
        let wire: Wire = serde_json::from_slice(json).map_err(SavedError::Malformed)?;
        if wire.format != FORMAT {
            return Err(SavedError::UnknownFormat(wire.format));
        }
        if wire.project_id != project_id {
            return Err(SavedError::OtherProject(wire.project_id));
        }
        let rows = wire.rows.into_iter().map(|(path, version, revision, hash, size)| {
            let hash = parsed(&path, hash)?;
            Ok(SavedRow { path, version, revision, hash, size })
        });
        let local = wire.local.into_iter().map(|(path, hash)| {
            let hash = parsed(&path, hash)?;
            Ok(SavedLocal { path, hash })
        });
        Ok(Saved {
            rows: rows.collect::<Result<_, _>>()?,
            local: local.collect::<Result<_, _>>()?,
            project_id: wire.project_id,
            revision: wire.revision,
        })
    }
}

fn parsed(path: &str, hash: Option<String>) -> Result<Option<ContentHash>, SavedError> {
    let hash = hash.map(|hash| ContentHash::parse(&hash)).transpose();
    hash.map_err(|_| SavedError::BadHash { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let live = SavedRow {
            path: "a".into(),
            version: Some(3),
            revision: 7,
            hash: Some(ContentHash::of(b"a")),
            size: Some(1),
        };
        let gone = SavedRow { path: "../b".into(), version: None, revision: 8, hash: None, size: None };
        let local = ["changed", "removed"].map(str::to_owned).map(|path| SavedLocal { hash: None, path });
        let [changed, removed] = local;
        let changed = SavedLocal { hash: Some(ContentHash::of(b"b")), ..changed };
        Saved { project_id: "p".into(), revision: 8, rows: vec![live, gone], local: vec![changed, removed] }
    }

    #[test]
    fn reads_what_it_wrote() {
        assert_eq!(Saved::decode(saved().encode().as_bytes(), "p").unwrap(), saved());
    }

    #[test]
    fn damaged_or_foreign_state_is_refused() {
        let text = saved().encode();
        for end in [0, 10, 64, 65, text.len() - 1] {
            assert!(matches!(Saved::decode(&text.as_bytes()[..end], "p"), Err(SavedError::Damaged)), "{end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Saved::decode(&bytes, "p").is_err(), "{at}");
        }
        assert!(matches!(Saved::decode(text.as_bytes(), "q"), Err(SavedError::OtherProject(_))));
    }
}
