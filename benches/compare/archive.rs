//! A project as a snapshot, with its manifest.

use std::io::{Cursor, Write};

use serde_json::json;
use sha2::{Digest, Sha256};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use crate::content::File;

/// Of every project here.
pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

/// How an archive holds its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Stored,
    Deflated,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Stored => "stored",
            Method::Deflated => "deflated",
        }
    }
}

/// A zip of these files as the project's own builders make it: the manifest first.
pub fn zip(files: &[File], method: Method) -> Vec<u8> {
    let method = match method {
        Method::Stored => CompressionMethod::Stored,
        Method::Deflated => CompressionMethod::Deflated,
    };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let manifest = manifest(files);
    let entries = files.iter().map(|file| (file.path.as_str(), &file.bytes[..]));
    for (path, bytes) in std::iter::once((".preview/manifest.json", &manifest[..])).chain(entries) {
        zip.start_file(path, options).expect("a name");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

fn manifest(files: &[File]) -> Vec<u8> {
    let file = |file: &File| {
        let hash: String = Sha256::digest(&file.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"file_path": file.path, "version": 1, "content_hash": hash, "size": file.bytes.len()})
    };
    let files: Vec<_> = files.iter().map(file).collect();
    let manifest = json!({
        "format": 1, "project_id": PROJECT, "snapshot_id": "0".repeat(64), "revision": 1,
        "created_at": "1980-01-01T00:00:00Z", "files": files,
    });
    manifest.to_string().into_bytes()
}
