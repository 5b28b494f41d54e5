use std::fmt;

use sha2::{Digest as _, Sha256};

/// The stored digest of a project: the XOR of one sha256 per live file, so each write costs two hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectDigest([u8; 32]);

impl ProjectDigest {
    /// Adds a live file, or removes it: the operation is the same.
    pub fn toggle(&mut self, path: &str, version: u64, content_hash: &str) {
        let mut hasher = Sha256::new();
        hasher.update(path.as_bytes());
        hasher.update([0]);
        hasher.update(version.to_string().as_bytes());
        hasher.update([0]);
        hasher.update(content_hash.as_bytes());
        for (byte, other) in self.0.iter_mut().zip(hasher.finalize()) {
            *byte ^= other;
        }
    }

    /// Makes it wrong, for tests of an agent that reads a wrong digest.
    pub fn corrupt(&mut self) {
        let [first, ..] = &mut self.0;
        *first ^= 0xff;
    }
}

impl fmt::Display for ProjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The sha256 of `bytes` in lower-case hex, as the table holds it.
pub fn content_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_vector_of_the_contract() {
        let mut digest = ProjectDigest::default();
        assert_eq!(digest.to_string(), "0".repeat(64));
        digest.toggle("src/App.tsx", 3, &content_hash(b"hello"));
        assert_eq!(digest.to_string(), "ae7cc41f17dd453128c6d3c336e32c5862cabea295c863f371195e3d3f7d7a25");
        digest.toggle("src/App.tsx", 3, &content_hash(b"hello"));
        assert_eq!(digest.to_string(), "0".repeat(64));
    }
}
