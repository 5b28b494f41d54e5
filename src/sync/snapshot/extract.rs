//! From an archive's bytes to files, on two threads that may block: one parses and inflates, the other hashes and writes.

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
use supervisor::process::ProjectUser;

/// 100,000 files with names and hashes of usual length are about 20 MB.
const MAX_MANIFEST: u64 = 32 * 1024 * 1024;

/// One extraction, from the first byte on.
pub(super) struct Extraction {
    pub stage: Dir,
    pub owner: Option<ProjectUser>,
    pub project_id: String,
    pub limits: zip_stream::Limits,
    pub meter: Arc<ProgressCounter>,
}

/// An archive that was read to its end.
struct Whole {
    listed: Vec<Listed>,
    /// Of each file that was staged, where it stands in `listed`.
    staged: Vec<usize>,
    compressed_bytes: u64,
    expanded_bytes: u64,
}

impl Extraction {
    pub fn run(self, input: impl BufRead) -> Result<Extracted, SnapshotError> {
        let spool_dir = self.stage.try_clone().map_err(SnapshotError::stage)?;
        let archive = Archive::new(input, self.limits).spool_with(move || tree::spool(&spool_dir));
        let staging = Staging::new(Tree::new(self.stage, self.owner), self.meter);
        let (mut filling, batches) = batch::channel();
        let (whole, staging) = thread::scope(|scope| {
            let stager = thread::Builder::new().name("stage".into()).spawn_scoped(scope, move || staging.run(&batches));
            let stager = stager.map_err(SnapshotError::stage)?;
            let whole = read(archive, &self.project_id, &mut filling);
            // What was read before a fault comes first, and so does what is found wrong with it.
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

/// Reads the archive to its end, and hands on what is in it.
fn read(mut archive: Archive<impl BufRead>, project: &str, filling: &mut Filling) -> Result<Whole, StopReason> {
    let (mut staged, mut files) = (Vec::new(), 0_u64);
    for place in 0.. {
        let Some(entry) = archive.next_entry()? else { break };
        if entry.is_dir() {
            directory(entry.name())?;
            continue;
        }
        files += 1;
        if files == 1 && plain(entry.name()) == MANIFEST {
            filling.push(Part::Manifest(Expected::parse(&read_manifest(entry)?, project)?))?;
        } else if file(entry, filling)? {
            staged.push(place);
        }
    }
    let (compressed_bytes, expanded_bytes) = (archive.position(), archive.expanded());
    Ok(Whole { listed: archive.finish()?, staged, compressed_bytes, expanded_bytes })
}

/// Whether it is staged.
fn file<R: BufRead>(mut entry: Entry<'_, R>, filling: &mut Filling) -> Result<bool, StopReason> {
    let name = plain(entry.name());
    let path = place(name)?;
    let staged = path.is_some();
    filling.push(path.map_or_else(|| Part::Skipped(name.to_owned()), Part::File))?;
    filling.copy(&mut entry)?;
    Ok(staged)
}

/// Directories are made with the files in them; one that leaves the root is refused all the same.
fn directory(name: &str) -> Result<(), SnapshotError> {
    match plain(name) {
        "" => Ok(()),
        name => place(name).map(drop),
    }
}

/// Nothing of the manifest may be left, and what may be run is known only at the archive's end.
fn finish(whole: Whole, mut staging: Staging) -> Result<Extracted, SnapshotError> {
    for (file, place) in staging.files.iter_mut().zip(whole.staged) {
        if whole.listed[place].executable {
            staging.tree.make_executable(&file.path)?;
            file.executable = true;
            file.stamp = None;
        }
    }
    if let Some(expected) = &staging.expected {
        expected.finish()?;
    }
    Ok(Extracted {
        revision: staging.expected.as_ref().map(|expected| expected.revision),
        snapshot_id: staging.expected.map(|expected| expected.snapshot_id),
        files: staging.files,
        skipped: staging.skipped,
        compressed_bytes: whole.compressed_bytes,
        expanded_bytes: whole.expanded_bytes,
        attempts: 1,
        waited: std::time::Duration::ZERO,
    })
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

fn read_manifest<R: BufRead>(mut entry: Entry<'_, R>) -> Result<Vec<u8>, SnapshotError> {
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
