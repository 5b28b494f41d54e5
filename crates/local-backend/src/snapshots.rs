use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;

use crate::digest::content_hash;
use crate::store::Store;

/// Snapshots kept for the URLs that were given out; older ones are answered as missing.
const KEPT: usize = 4;

/// The bucket `project-snapshots`.
#[derive(Default)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// In the order in which they were made: name and zip.
    made: Vec<(String, Bytes)>,
    /// The newest one's revision.
    revision: Option<u64>,
    rebuilt: HashMap<String, u64>,
}

impl Snapshots {
    /// The object `<project_id>/<snapshot_id>.zip` of the state now. Made anew where the state has moved, or where
    /// `rebuild` asks for another id.
    pub fn current(&self, store: &Store, project_id: &str, rebuild: bool) -> std::io::Result<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, _) = store.head();
        if let (Some((name, _)), false, true) = (kept.made.last(), rebuild, kept.revision == Some(head)) {
            return Ok(name.clone());
        }
        let (id, zip, revision) = build(store, project_id)?;
        let mut name = format!("{project_id}/{id}.zip");
        if rebuild {
            let times = kept.rebuilt.entry(id.clone()).or_default();
            *times += 1;
            name = format!("{project_id}/{id}-{times}.zip");
        }
        kept.revision = Some(revision);
        kept.made.retain(|(made, _)| *made != name);
        kept.made.push((name.clone(), zip));
        if kept.made.len() > KEPT {
            kept.made.remove(0);
        }
        Ok(name)
    }

    /// The zip of that name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made.iter().find(|(made, _)| made == name).map(|(_, zip)| zip.clone())
    }
}

/// Id, zip and revision of the state now.
fn build(store: &Store, project_id: &str) -> std::io::Result<(String, Bytes, u64)> {
    let (revision, rows) = {
        let project = store.project();
        (project.head(), project.live().cloned().collect::<Vec<_>>())
    };
    let files: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({"file_path": row.path, "version": row.version, "content_hash": row.content_hash, "size": row.size})
        })
        .collect();
    let id = content_hash(json!(files).to_string().as_bytes());
    let manifest = json!({
        "format": 1, "project_id": project_id, "snapshot_id": id, "revision": revision,
        "created_at": "1980-01-01T00:00:00Z", "files": files,
    });
    let mut entries = vec![(".preview/manifest.json".to_owned(), Bytes::from(manifest.to_string()))];
    entries.extend(rows.into_iter().filter_map(|row| Some((row.path, row.bytes?))));
    Ok((id, stored(&entries)?.into(), revision))
}

/// A zip of stored entries.
fn stored(entries: &[(String, Bytes)]) -> std::io::Result<Vec<u8>> {
    let too_large = |_| std::io::Error::other("more than a zip without zip64 can hold");
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let offset = u32::try_from(zip.len()).map_err(too_large)?;
        let name_len = u16::try_from(name.len()).map_err(too_large)?;
        let mut common = Vec::new();
        for field in [20u16, 0x800, 0, 0, 0x21] {
            common.extend(field.to_le_bytes());
        }
        for field in [crc32(bytes), size, size] {
            common.extend(field.to_le_bytes());
        }
        common.extend(name_len.to_le_bytes());
        common.extend(0u16.to_le_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(name.as_bytes());
        zip.extend(&bytes[..]);
        directory.extend(b"PK\x01\x02");
        directory.extend(20u16.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).map_err(too_large)?;
    let at = u32::try_from(zip.len()).map_err(too_large)?;
    let len = u32::try_from(directory.len()).map_err(too_large)?;
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(len.to_le_bytes());
    zip.extend(at.to_le_bytes());
    zip.extend([0; 2]);
    Ok(zip)
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ table[((crc ^ u32::from(*byte)) & 0xff) as usize])
}
