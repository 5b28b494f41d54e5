//! Extracts an archive with two threads that may block: one parses and inflates, the other hashes and writes.

use std::io::BufRead;
use std::sync::Arc;
use std::thread;

use cap_std::fs::Dir;
use sync_core::{PathError, ProjectPath};
use zip_stream::{Archive, Entry, Listed, MANIFEST};

use super::batch::{self, Filling, Part, StopReason};
use super::manifest_check::Expected;
use super::progress::ProgressCounter;
use super::staging::Staging;
use super::tree::{self, Tree};
use super::{Extracted, ManifestFault, SnapshotError};
use crate::sync::file_modes::FolderModes;
use supervisor::process::ProjectUser;

/// The largest manifest, in bytes. 100,000 files with names of usual length are about 20 MB.
const MAX_MANIFEST: u64 = 32 * 1024 * 1024;

/// One extraction, from the first byte to the last.
pub(super) struct Extraction {
    pub stage: Dir,
    pub owner: Option<ProjectUser>,
    pub modes: Option<FolderModes>,
    pub project_id: String,
    pub limits: zip_stream::Limits,
    pub progress: Arc<ProgressCounter>,
}

/// An archive that was read to its end.
struct ReadArchive {
    listed: Vec<Listed>,
    /// The index in `listed` of each file that was staged.
    staged: Vec<usize>,
    compressed_bytes: u64,
}

impl Extraction {
    pub fn run(self, input: impl BufRead) -> Result<Extracted, SnapshotError> {
        let spool_dir = self.stage.try_clone().map_err(SnapshotError::stage)?;
        let archive = Archive::new(input, self.limits).spool_with(move || tree::spool(&spool_dir));
        let staging = Staging::new(Tree::new(self.stage, self.owner, self.modes), self.progress);
        let (mut filling, batches) = batch::channel();
        let (whole, staging) = thread::scope(|scope| {
            let stager = thread::Builder::new().name("stage".into()).spawn_scoped(scope, move || staging.run(&batches));
            let stager = stager.map_err(SnapshotError::stage)?;
            let whole = read(archive, &self.project_id, &mut filling);
            // A fault in what was read before comes first.
            let _ = filling.flush();
            drop(filling);
            let staging = stager.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))?;
            Ok::<_, SnapshotError>((whole, staging))
        })?;
        let whole = match whole {
            Ok(whole) => whole,
            Err(StopReason::Fault(error)) => return Err(error),
            Err(StopReason::ReceiverClosed) => return Err(SnapshotError::Stopped),
        };
        finish(whole, staging)
    }
}

/// Reads the archive to its end, and passes its content on.
fn read(mut archive: Archive<impl BufRead>, project: &str, filling: &mut Filling) -> Result<ReadArchive, StopReason> {
    let (mut staged, mut files) = (Vec::new(), 0_u64);
    for index in 0.. {
        let Some(entry) = archive.next_entry()? else { break };
        if entry.is_dir() {
            directory(entry.name())?;
            continue;
        }
        files = files.saturating_add(1);
        if files == 1 && plain(entry.name()) == MANIFEST {
            filling.push(Part::Manifest(Expected::parse(&read_manifest(entry)?, project)?))?;
        } else if file(entry, filling)? {
            staged.push(index);
        }
    }
    let compressed_bytes = archive.position();
    Ok(ReadArchive { listed: archive.finish()?, staged, compressed_bytes })
}

/// Passes one file on. Returns whether it is staged.
fn file<R: BufRead>(mut entry: Entry<'_, R>, filling: &mut Filling) -> Result<bool, StopReason> {
    let name = plain(entry.name());
    let path = project_path(name)?;
    let staged = path.is_some();
    filling.push(path.map_or_else(|| Part::Skipped(name.to_owned()), Part::File))?;
    filling.copy(&mut entry)?;
    Ok(staged)
}

/// Checks a directory's name. Directories are created with the files in them.
fn directory(name: &str) -> Result<(), SnapshotError> {
    match plain(name) {
        "" => Ok(()),
        name => project_path(name).map(drop),
    }
}

/// The checks at the end: every file of the manifest was there. Sets the modes, which are known only now.
fn finish(archive: ReadArchive, mut staging: Staging) -> Result<Extracted, SnapshotError> {
    for (file, index) in staging.files.iter_mut().zip(archive.staged) {
        if !file.executable && archive.listed.get(index).is_some_and(|entry| entry.executable) {
            staging.tree.make_executable(&file.path)?;
            file.executable = true;
            file.stamp = None;
        }
    }
    if let Some(expected) = &staging.expected {
        expected.finish()?;
    }
    let expanded_bytes = staging.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
    Ok(Extracted {
        revision: staging.expected.as_ref().map(|expected| expected.revision),
        snapshot_id: staging.expected.map(|expected| expected.snapshot_id),
        files: staging.files,
        skipped: staging.skipped,
        compressed_bytes: archive.compressed_bytes,
        expanded_bytes,
        attempts: 1,
        waited: std::time::Duration::ZERO,
    })
}

/// The name without a leading `./`, which some tools write, and without the slash that ends a directory's name.
fn plain(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    name.strip_suffix('/').unwrap_or(name)
}

/// The path of an entry in the project; `None` for a reserved path, which is never written. A name that leaves the root is
/// rejected, also where it does so through a reserved directory.
fn project_path(name: &str) -> Result<Option<ProjectPath>, SnapshotError> {
    match ProjectPath::parse(name) {
        Ok(path) => Ok(Some(path)),
        Err(PathError::Reserved(name)) if name.split('/').any(|part| part == "..") => {
            Err(SnapshotError::Path(PathError::Parent(name)))
        }
        Err(PathError::Reserved(_)) => Ok(None),
        Err(error) => Err(SnapshotError::Path(error)),
    }
}

fn read_manifest<R: BufRead>(mut entry: Entry<'_, R>) -> Result<Vec<u8>, SnapshotError> {
    let (mut json, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
    loop {
        match entry.read(&mut buffer)? {
            0 => return Ok(json),
            count => json.extend(buffer.iter().take(count)),
        }
        if json.len() as u64 > MAX_MANIFEST {
            return Err(ManifestFault::TooLarge(MAX_MANIFEST).into());
        }
    }
}
