//! From the store to the folder.

use std::collections::BTreeSet;
use std::time::Instant;

use local_backend::{Change, ChangedFile};
use sync_core::{ContentHash, ProjectPath};

use super::super::folder::{Content, Replaced};
use super::super::mirror_event::MirrorEvent;
use super::super::settle::Touch;
use super::mirror_loop::MirrorLoop;
use super::{Known, WriteBack};
use crate::sync::folder::{EntryType, is_project_file};

impl MirrorLoop {
    /// Writes a commit that was not made here to the folder: new content first, then removals, so that a rename never
    /// leaves a moment without the file.
    pub(super) fn apply(&mut self, change: &Change) {
        let (deletes, writes): (Vec<_>, Vec<_>) = change.files.iter().partition(|file| file.deleted);
        for file in writes.into_iter().chain(deletes) {
            self.apply_one(file, &change.sender);
        }
    }

    /// Writes everything that is newer in the store than what is known: at the start, since a database may have more than
    /// the folder, and after missed commits.
    pub(super) fn compare_with_store(&mut self) {
        let current = self.store.current();
        let live: BTreeSet<&String> = current.iter().map(|row| &row.path).collect();
        let gone: Vec<String> = self.known.keys().filter(|path| !live.contains(path)).cloned().collect();
        for row in &current {
            self.apply_one(&ChangedFile::from(row), &row.sender);
        }
        for row in gone.iter().filter_map(|path| self.store.newest(path)).collect::<Vec<_>>() {
            self.apply_one(&ChangedFile::from(&row), &row.sender);
        }
    }

    fn apply_one(&mut self, file: &ChangedFile, sender: &str) {
        let known = self.known.get(&file.path).copied().unwrap_or_default();
        // A save of this mirror, or a repeated commit.
        if file.version <= known.version {
            return;
        }
        let seen = Known { version: file.version, ..known };
        let wanted = file.bytes.as_deref().filter(|_| !file.deleted);
        let known = match self.write_back {
            WriteBack::Off => seen,
            WriteBack::On => match self.write_one(file, wanted, known, sender) {
                FolderContent::Unchanged => seen,
                FolderContent::Equal(hash) => Known { hash, ..seen },
            },
        };
        self.known.insert(file.path.clone(), known);
    }

    /// Writes one file, or removes it where `wanted` is none.
    fn write_one(&mut self, file: &ChangedFile, wanted: Option<&[u8]>, known: Known, sender: &str) -> FolderContent {
        let path = match ProjectPath::parse(&file.path) {
            Ok(path) if is_project_file(path.as_str(), EntryType::File) => path,
            Ok(_) => {
                self.warn(&file.path, "it is not a file of the project and was not written back".into());
                return FolderContent::Unchanged;
            }
            Err(error) => {
                self.warn(&file.path, error.to_string());
                return FolderContent::Unchanged;
            }
        };
        let wanted_hash = wanted.map(ContentHash::of);
        let outcome = self.folder.read(path.as_str()).and_then(|here| {
            let hash = here.as_ref().map(|content| content.hash);
            if hash == wanted_hash {
                Ok(WriteOutcome::Same)
            } else if hash != known.hash {
                Ok(WriteOutcome::Conflict)
            } else {
                self.put(&path, wanted, here.as_ref())
            }
        });
        match outcome {
            Ok(WriteOutcome::Same) => FolderContent::Equal(wanted_hash),
            Ok(WriteOutcome::Written) => {
                let (path, sender, deleted) = (file.path.clone(), sender.to_owned(), wanted.is_none());
                (self.report)(MirrorEvent::WrittenBack { path, version: file.version, sender, deleted });
                FolderContent::Equal(wanted_hash)
            }
            Ok(WriteOutcome::Conflict) => {
                (self.report)(MirrorEvent::Conflict {
                    path: file.path.clone(),
                    version: file.version,
                    sender: sender.into(),
                });
                // The folder's own is the next version.
                self.settling.touch(&file.path, Touch::Finished, Instant::now());
                FolderContent::Unchanged
            }
            Err(error) => {
                self.warn(&file.path, format!("cannot be written back: {error}"));
                FolderContent::Unchanged
            }
        }
    }

    fn put(&self, path: &ProjectPath, wanted: Option<&[u8]>, here: Option<&Content>) -> std::io::Result<WriteOutcome> {
        let replaced = match (wanted, here) {
            (Some(bytes), here) => self.folder.replace(path, bytes, here)?,
            (None, Some(here)) => self.folder.remove(path, here)?,
            (None, None) => return Ok(WriteOutcome::Same),
        };
        Ok(match replaced {
            Replaced::Yes => WriteOutcome::Written,
            Replaced::ChangedMeanwhile => WriteOutcome::Conflict,
        })
    }
}

/// What is known of the folder after a write.
enum FolderContent {
    /// Nothing was written.
    Unchanged,
    /// The folder has this content, or no file.
    Equal(Option<ContentHash>),
}

/// The end of an attempt to write a file.
enum WriteOutcome {
    /// The folder had this content already.
    Same,
    Written,
    /// The folder has other content, which was not read yet.
    Conflict,
}
