//! Hashes of files in the project. The project's own code may have made them: their size says nothing about the bytes
//! that the database has, and may be a terabyte.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use sync_core::ContentHash;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// Stops reading when nothing waits for the result any more. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// Cancels when it is dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Cancel {
    /// A guard that cancels when it is dropped.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A hash of the bytes that were read so far.
#[derive(Debug, Default)]
pub(super) struct RunningHash {
    hash: Sha256,
    bytes: u64,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To its end.
    Finished,
    /// There may be more.
    Unfinished,
}

impl RunningHash {
    /// Bytes that were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads about `limit` more bytes of `file`.
    pub(super) fn read(&mut self, file: &mut File, limit: u64) -> io::Result<Progress> {
        let mut buffer = vec![0; BUFFER];
        let end = self.bytes.saturating_add(limit);
        while self.bytes < end {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Progress::Finished),
                Ok(count) => {
                    self.hash.update(buffer.get(..count).unwrap_or_default());
                    self.bytes = self.bytes.saturating_add(count as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Unfinished)
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash::from_bytes(self.hash.finalize().into())
    }
}

/// The hash of a whole file, which the caller knows not to be too large; `None` where it was cancelled.
pub(super) fn hash_file(file: &mut File, cancel: &Cancel) -> io::Result<Option<ContentHash>> {
    let mut hash = RunningHash::default();
    while hash.read(file, BUFFER as u64)? == Progress::Unfinished {
        if cancel.is_cancelled() {
            return Ok(None);
        }
    }
    Ok(Some(hash.finish()))
}

/// Stands for the content of a file that is not read because of its size. It is the hash of no file of the database.
pub(super) fn too_large(size: u64) -> ContentHash {
    ContentHash::of(format!("preview-agent: a file of {size} bytes was not read").as_bytes())
}

/// Whether `file` has exactly these bytes. Reads at most as many, and one more.
pub(super) fn has_content(file: &mut File, bytes: &[u8]) -> bool {
    let mut buffer = vec![0; bytes.len().clamp(1, BUFFER)];
    let mut rest = bytes;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return rest.is_empty(),
            Ok(count) => match buffer.get(..count).and_then(|read| rest.strip_prefix(read)) {
                Some(left) => rest = left,
                None => return false,
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn a_file_read_in_parts_has_the_same_hash() {
        let bytes = vec![7; 5 * BUFFER + 1];
        let mut parts = file(&bytes);
        let mut hash = RunningHash::default();
        let mut calls = 0;
        while hash.read(&mut parts, 1).unwrap() == Progress::Unfinished {
            calls += 1;
        }
        assert_eq!((calls, hash.finish()), (6, ContentHash::of(&bytes)));
        assert_eq!(hash_file(&mut file(&bytes), &Cancel::default()).unwrap(), Some(ContentHash::of(&bytes)));
        let cancel = Cancel::default();
        drop(cancel.on_drop());
        assert_eq!(hash_file(&mut file(&bytes), &cancel).unwrap(), None);
    }

    #[test]
    fn content_is_compared_to_its_end() {
        for (content, expected) in
            [(&b"abc"[..], true), (b"ab", false), (b"abcd", false), (b"abd", false), (b"", false)]
        {
            assert_eq!(has_content(&mut file(content), b"abc"), expected, "{content:?}");
        }
        assert!(has_content(&mut file(b""), b""));
    }
}
