use std::collections::BTreeSet;
use std::time::Instant;

use local_backend::{Change, ChangedFile};
use sync_core::{ContentHash, ProjectPath};

use super::folder::{Content, Replaced};
use super::mirror::{Known, Work};
use super::news::News;
use super::settle::Touch;
use crate::sync::folder::{EntryType, is_project_file};

impl Work {
    /// Brings a commit of somebody else into the folder. New content first, then what goes, so that a rename never
    /// leaves nothing.
    pub(super) fn apply(&mut self, change: &Change) {
        let (deletes, writes): (Vec<_>, Vec<_>) = change.files.iter().partition(|file| file.deleted);
        for file in writes.into_iter().chain(deletes) {
            self.apply_one(file, &change.sender);
        }
    }

    /// At the start, since a database may hold more than the folder, and after missed commits: whatever is newer in the
    /// store than what is known.
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
        // Our own saves are known since they were made; so is what came around twice.
        if file.version <= known.version {
            return;
        }
        let heard = Known { version: file.version, ..known };
        let wanted = file.bytes.as_deref().filter(|_| !file.deleted);
        let after = if self.write_back { self.write_one(file, wanted, known, sender) } else { None };
        self.known.insert(file.path.clone(), after.map_or(heard, |hash| Known { hash, ..heard }));
    }

    /// Gives what the folder holds afterwards, or `None` where it was left alone.
    fn write_one(
        &mut self,
        file: &ChangedFile,
        wanted: Option<&[u8]>,
        known: Known,
        sender: &str,
    ) -> Option<Option<ContentHash>> {
        let path = match ProjectPath::parse(&file.path) {
            Ok(path) if is_project_file(path.as_str(), EntryType::File) => path,
            Ok(_) => {
                self.warn(&file.path, "it is no part of the project and was not written back".into());
                return None;
            }
            Err(error) => {
                self.warn(&file.path, error.to_string());
                return None;
            }
        };
        let wanted_hash = wanted.map(ContentHash::of);
        let outcome = self.folder.read(path.as_str()).and_then(|here| {
            let hash = here.as_ref().map(|content| content.hash);
            if hash == wanted_hash {
                Ok(Ended::Same)
            } else if hash != known.hash {
                Ok(Ended::Conflict)
            } else {
                self.put(&path, wanted, here.as_ref())
            }
        });
        match outcome {
            Ok(Ended::Same) => Some(wanted_hash),
            Ok(Ended::Written) => {
                let (path, sender, deleted) = (file.path.clone(), sender.to_owned(), wanted.is_none());
                (self.tell)(News::WrittenBack { path, version: file.version, sender, deleted });
                Some(wanted_hash)
            }
            Ok(Ended::Conflict) => {
                (self.tell)(News::Conflict { path: file.path.clone(), version: file.version, sender: sender.into() });
                // The folder's own is the next version.
                self.settling.touch(&file.path, Touch::Finished, Instant::now());
                None
            }
            Err(error) => {
                self.warn(&file.path, format!("cannot be written back: {error}"));
                None
            }
        }
    }

    fn put(&self, path: &ProjectPath, wanted: Option<&[u8]>, here: Option<&Content>) -> std::io::Result<Ended> {
        let replaced = match (wanted, here) {
            (Some(bytes), here) => self.folder.replace(path, bytes, here)?,
            (None, Some(here)) => self.folder.remove(path, here)?,
            (None, None) => return Ok(Ended::Same),
        };
        Ok(match replaced {
            Replaced::Yes => Ended::Written,
            Replaced::ChangedMeanwhile => Ended::Conflict,
        })
    }
}

enum Ended {
    /// The folder held it already.
    Same,
    Written,
    /// The folder holds something else that was not read yet.
    Conflict,
}
