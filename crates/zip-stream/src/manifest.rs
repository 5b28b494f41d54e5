use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of a snapshot's manifest in the zip. It is the first entry, and not part of the project.
pub const MANIFEST: &str = ".preview/manifest.json";

/// The manifest of a snapshot. Parsing does not check its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the manifest: 1.
    pub format: u64,
    /// The project's UUID.
    pub project_id: String,
    /// See [`snapshot_id`].
    pub snapshot_id: String,
    /// The revision of the project that the files are.
    pub revision: u64,
    /// RFC 3339, for information only.
    #[serde(default)]
    pub created_at: String,
    /// In the order of their paths, byte by byte.
    pub files: Vec<ManifestFile>,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the project's root, with `/` between its parts.
    pub file_path: String,
    /// The row's version in the database.
    pub version: u64,
    /// sha256 of the bytes, 64 lower-case hex digits.
    pub content_hash: String,
    /// In bytes.
    pub size: u64,
}

/// The sha256, in hex, of the sorted listing: for each file, in the order of the paths' bytes, its path, a zero byte,
/// its version in decimal, a zero byte, its content hash in lower-case hex, and a line feed.
///
/// Equal files have equal ids, whatever the project and the revision.
pub fn snapshot_id(sorted: &[ManifestFile]) -> String {
    let mut listing = Sha256::new();
    for file in sorted {
        listing.update(&file.file_path);
        listing.update([0]);
        listing.update(file.version.to_string());
        listing.update([0]);
        listing.update(&file.content_hash);
        listing.update(b"\n");
    }
    hex(&listing.finalize())
}

/// Two lower-case digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_hash_of_the_listing() {
        let file = |path: &str, version, hash: &str| ManifestFile {
            file_path: path.into(),
            version,
            content_hash: hash.into(),
            size: 1,
        };
        assert_eq!(snapshot_id(&[]), hex(&Sha256::digest(b"")));
        let listing = b"a\x007\x00aa\nb/c\x0012\x00bb\n";
        assert_eq!(snapshot_id(&[file("a", 7, "aa"), file("b/c", 12, "bb")]), hex(&Sha256::digest(listing)));
    }
}
