//! From an archive's bytes to files: parsed, inflated, hashed and written in one go, on a thread that may block.

use std::fs::File;
use std::io::{BufRead, Write};
use std::sync::Arc;

use cap_std::fs::Dir;
use sha2::{Digest, Sha256};
use sync_core::{ContentHash, PathError, ProjectPath};
use zip_stream::{Archive, Entry, MANIFEST};

use super::check::Expected;
use super::meter::Meter;
use super::tree::{self, Tree};
use super::{Extracted, ExtractedFile, ManifestFault, SnapshotError};

/// What is inflated, hashed and written at a time: most files of a project in one piece, and small enough for the
/// processor's cache.
const BUFFER: usize = 128 * 1024;
/// 100,000 files with names and hashes of usual length are about 20 MB.
const MAX_MANIFEST: u64 = 32 * 1024 * 1024;

/// One extraction, from the first byte on.
pub(super) struct Extraction {
    pub stage: Dir,
    pub project_id: String,
    pub limits: zip_stream::Limits,
    pub meter: Arc<Meter>,
}

/// Where the files stand while there is more to come.
struct State {
    tree: Tree,
    expected: Option<Expected>,
    files: Vec<ExtractedFile>,
    seen: u64,
    skipped: u64,
    buffer: Vec<u8>,
}

impl Extraction {
    pub fn run(self, input: impl BufRead) -> Result<Extracted, SnapshotError> {
        let spool_dir = self.stage.try_clone().map_err(SnapshotError::stage)?;
        let mut archive = Archive::new(input, self.limits).spool_with(move || tree::spool(&spool_dir));
        let mut state = State {
            tree: Tree::new(self.stage),
            expected: None,
            files: Vec::new(),
            seen: 0,
            skipped: 0,
            buffer: vec![0; BUFFER],
        };
        let mut places = Vec::new();
        for place in 0.. {
            let Some(entry) = archive.next_entry()? else { break };
            if let Some(file) = state.entry(entry, &self.project_id)? {
                state.files.push(file);
                places.push(place);
                self.meter.add_file();
            }
        }
        let (compressed_bytes, expanded_bytes) = (archive.position(), archive.expanded());
        let listed = archive.finish()?;
        for (file, place) in state.files.iter_mut().zip(places) {
            let place: usize = place;
            if listed[place].executable {
                state.tree.make_executable(&file.path)?;
                file.executable = true;
            }
        }
        if let Some(expected) = &state.expected {
            expected.finish()?;
        }
        Ok(Extracted {
            revision: state.expected.as_ref().map(|expected| expected.revision),
            snapshot_id: state.expected.map(|expected| expected.snapshot_id),
            files: state.files,
            skipped: state.skipped,
            compressed_bytes,
            expanded_bytes,
            attempts: 1,
            waited: std::time::Duration::ZERO,
        })
    }
}

impl State {
    /// The file that came of an entry, if one did.
    fn entry<R: BufRead>(
        &mut self,
        mut entry: Entry<'_, R>,
        project: &str,
    ) -> Result<Option<ExtractedFile>, SnapshotError> {
        let name = entry.name().clone();
        let plain = plain(&name);
        if entry.is_dir() {
            if !plain.is_empty() {
                place(plain)?;
            }
            return Ok(None);
        }
        let path = place(plain)?;
        self.seen += 1;
        if plain == MANIFEST && self.seen == 1 {
            self.expected = Some(Expected::parse(&read_manifest(&mut entry)?, project)?);
            return Ok(None);
        }
        let Some(path) = path else {
            self.skip(entry, plain)?;
            return Ok(None);
        };
        if let Some(expected) = &self.expected {
            expected.names(path.as_str())?;
        }
        let mut file = self.tree.create(&path)?;
        let (size, hash) = self.copy(&mut entry, &path, &mut file)?;
        let version = match &mut self.expected {
            Some(expected) => Some(expected.take(path.as_str(), size, hash)?),
            None => None,
        };
        Ok(Some(ExtractedFile { path, version, hash, size, executable: false }))
    }

    fn copy<R: BufRead>(
        &mut self,
        entry: &mut Entry<'_, R>,
        path: &ProjectPath,
        file: &mut File,
    ) -> Result<(u64, ContentHash), SnapshotError> {
        let (mut size, mut hash) = (0, Sha256::new());
        loop {
            let count = entry.read(&mut self.buffer)?;
            if count == 0 {
                return Ok((size, ContentHash::from_bytes(hash.finalize().into())));
            }
            let bytes = &self.buffer[..count];
            hash.update(bytes);
            file.write_all(bytes).map_err(|source| SnapshotError::Write { path: path.to_string(), source })?;
            size += count as u64;
        }
    }

    /// A file in a place that is never touched. If the manifest names it, it is to be what the manifest says.
    fn skip<R: BufRead>(&mut self, mut entry: Entry<'_, R>, name: &str) -> Result<(), SnapshotError> {
        let (mut size, mut hash) = (0, Sha256::new());
        loop {
            let count = entry.read(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&self.buffer[..count]);
            size += count as u64;
        }
        self.skipped += 1;
        match &mut self.expected {
            Some(expected) if expected.names(name).is_ok() => {
                expected.take(name, size, ContentHash::from_bytes(hash.finalize().into()))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Some tools begin every name with `./`, and directories end with a slash.
fn plain(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    name.strip_suffix('/').unwrap_or(name)
}

/// Where an entry belongs; nowhere, if in a place that is never touched. A name that leaves the root is refused, through
/// whatever place it does so.
fn place(name: &str) -> Result<Option<ProjectPath>, SnapshotError> {
    match ProjectPath::parse(name) {
        Ok(path) => Ok(Some(path)),
        Err(PathError::Reserved(name)) if name.split('/').any(|part| part == "..") => {
            Err(SnapshotError::Path(PathError::Parent(name)))
        }
        Err(PathError::Reserved(_)) => Ok(None),
        Err(error) => Err(SnapshotError::Path(error)),
    }
}

fn read_manifest<R: BufRead>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, SnapshotError> {
    let (mut json, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
    loop {
        match entry.read(&mut buffer)? {
            0 => return Ok(json),
            count => json.extend(&buffer[..count]),
        }
        if json.len() as u64 > MAX_MANIFEST {
            return Err(ManifestFault::TooLarge(MAX_MANIFEST).into());
        }
    }
}
