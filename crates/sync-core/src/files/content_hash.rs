use std::fmt;

use sha2::{Digest, Sha256};

/// The sha256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 64 hex digits, not {0:?}")]
pub struct NotAHash(String);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(Sha256::digest(bytes).into())
    }

    /// A hash that was computed while the bytes went by.
    pub fn from_bytes(bytes: [u8; 32]) -> ContentHash {
        ContentHash(bytes)
    }

    /// The 32 bytes themselves.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hex digits, upper or lower case.
    pub fn parse(text: &str) -> Result<ContentHash, NotAHash> {
        let refused = || NotAHash(text.chars().take(80).collect());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        let (pairs, _) = digits.as_chunks();
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or_else(refused);
            *byte = (value(*high)? << 4 | value(*low)?) as u8;
        }
        Ok(ContentHash(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses_and_refuses_the_rest() {
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(ContentHash::of(b"hello").to_string(), hello);
        assert_eq!(ContentHash::parse(&hello.to_uppercase()), Ok(ContentHash::of(b"hello")));
        for wrong in ["", "2cf2", &hello[1..], &format!("{}g", &hello[1..]), &format!("{}é", &hello[2..])] {
            assert!(ContentHash::parse(wrong).is_err(), "{wrong}");
        }
    }
}
