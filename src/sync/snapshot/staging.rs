//! The second thread of an extraction: hashes and writes what the first has inflated, and compares it with the manifest.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sync_core::{ContentHash, ProjectPath};

use super::SnapshotError;
use super::batch::{Batch, Batches, Part};
use super::manifest_check::Expected;
use super::progress::ProgressCounter;
use super::tree::Tree;
use crate::sync::files::{ExtractedFile, FileStamp};

/// What was staged so far.
pub(super) struct Staging {
    pub tree: Tree,
    pub expected: Option<Expected>,
    pub files: Vec<ExtractedFile>,
    pub skipped: u64,
    current: Option<Current>,
    progress: Arc<ProgressCounter>,
}

/// The file that is being read.
struct Current {
    target: Target,
    size: u64,
    hash: Sha256,
    /// The first bytes.
    beginning: Beginning,
}

/// As many bytes as tell that a file is a script: `#!`.
#[derive(Default)]
struct Beginning(Vec<u8>);

impl Beginning {
    fn take(&mut self, content: &[u8]) {
        let missing = 2_usize.saturating_sub(self.0.len());
        self.0.extend(content.iter().take(missing));
    }
}

enum Target {
    Staged(ProjectPath, File),
    /// A reserved path, which is not written. Where the manifest names it, it must match.
    Skipped(String),
}

impl Staging {
    pub fn new(tree: Tree, progress: Arc<ProgressCounter>) -> Staging {
        Staging { tree, expected: None, files: Vec::new(), skipped: 0, current: None, progress }
    }

    /// Works until the reading thread ends.
    ///
    /// # Errors
    /// The first fault in the order of the archive.
    pub fn run(mut self, batches: &Batches) -> Result<Staging, SnapshotError> {
        while let Some(mut batch) = batches.next() {
            self.take(&mut batch)?;
            batches.give_back(batch);
        }
        Ok(self)
    }

    fn take(&mut self, batch: &mut Batch) -> Result<(), SnapshotError> {
        let mut bytes = &batch.bytes[..];
        for part in batch.parts.drain(..) {
            match part {
                Part::Manifest(expected) => self.expected = Some(expected),
                Part::File(path) => {
                    if let Some(expected) = &self.expected {
                        expected.names(path.as_str())?;
                    }
                    let file = self.tree.create(&path)?;
                    self.begin(Target::Staged(path, file));
                }
                Part::Skipped(name) => self.begin(Target::Skipped(name)),
                Part::Bytes(count) => {
                    let (content, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                    bytes = rest;
                    if let Some(current) = &mut self.current {
                        current.write(content)?;
                    }
                }
                Part::End => self.end()?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, target: Target) {
        self.current = Some(Current { target, size: 0, hash: Sha256::new(), beginning: Beginning::default() });
    }

    fn end(&mut self) -> Result<(), SnapshotError> {
        let Some(Current { target, size, hash, beginning }) = self.current.take() else { return Ok(()) };
        let hash = ContentHash::from_bytes(hash.finalize().into());
        match target {
            Target::Staged(path, file) => {
                let executable = beginning.0 == b"#!";
                if executable {
                    self.tree.make_executable(&path)?;
                }
                let stamp = rustix::fs::fstat(&file).ok().map(|stat| FileStamp::of(&stat));
                let expected = self.expected.as_mut();
                let version = expected.map(|expected| expected.take(path.as_str(), size, hash)).transpose()?;
                self.files.push(ExtractedFile { path, version, hash, size, executable, stamp });
                self.progress.add_file();
            }
            Target::Skipped(name) => {
                self.skipped = self.skipped.saturating_add(1);
                if let Some(expected) = self.expected.as_mut().filter(|expected| expected.names(&name).is_ok()) {
                    expected.take(&name, size, hash)?;
                }
            }
        }
        Ok(())
    }
}

impl Current {
    fn write(&mut self, content: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(content);
        self.beginning.take(content);
        self.size = self.size.saturating_add(content.len() as u64);
        let Target::Staged(path, file) = &mut self.target else { return Ok(()) };
        file.write_all(content).map_err(|source| SnapshotError::Write { path: path.to_string(), source })
    }
}
