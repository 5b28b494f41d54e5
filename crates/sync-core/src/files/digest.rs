use std::fmt;

use sha2::{Digest, Sha256};

use crate::{ContentHash, Version};

/// The digest of a whole table: the XOR over its live files of
/// `sha256(UTF-8 path, 0x00, version in decimal, 0x00, content hash in lower-case hex)`. Adding and removing a file
/// are the same step. It detects accidents, not attacks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TableDigest([u8; 32]);

impl TableDigest {
    /// Puts a live file in, or takes it out again.
    pub fn toggle(&mut self, path: &str, version: Version, hash: &ContentHash) {
        let mut hasher = Sha256::new();
        hasher.update(path.as_bytes());
        hasher.update([0]);
        hasher.update(version.to_string());
        hasher.update([0]);
        hasher.update(hash.to_string());
        let file: [u8; 32] = hasher.finalize().into();
        self.0.iter_mut().zip(file).for_each(|(mine, its)| *mine ^= its);
    }

    /// Parses 64 hex digits.
    pub fn parse(text: &str) -> Option<TableDigest> {
        ContentHash::parse(text).ok().map(|bytes| TableDigest(*bytes.as_bytes()))
    }
}

impl fmt::Display for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_the_contract() {
        let mut digest = TableDigest::default();
        assert_eq!(digest.to_string(), "0".repeat(64));
        digest.toggle("src/App.tsx", 3, &ContentHash::of(b"hello"));
        assert_eq!(digest.to_string(), "ae7cc41f17dd453128c6d3c336e32c5862cabea295c863f371195e3d3f7d7a25");
        assert_eq!(TableDigest::parse(&digest.to_string()), Some(digest));
        assert_eq!(TableDigest::parse("ae7c"), None);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_twice_is_never(files in prop::collection::vec((".*", any::<u64>(), any::<u64>()), 0..12)) {
            let toggle = |digest: &mut TableDigest, (path, version, content): &(String, u64, u64)| {
                digest.toggle(path, *version, &ContentHash::of(&content.to_le_bytes()));
            };
            let (mut forwards, mut backwards) = (TableDigest::default(), TableDigest::default());
            files.iter().for_each(|file| toggle(&mut forwards, file));
            files.iter().rev().for_each(|file| toggle(&mut backwards, file));
            prop_assert_eq!(forwards, backwards);
            files.iter().for_each(|file| toggle(&mut forwards, file));
            prop_assert_eq!(forwards, TableDigest::default());
        }
    }
}
