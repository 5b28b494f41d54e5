use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use local_backend::{BulkEntry, Change, FileContent, Row, SeedFile, Store, StoreError};
use sync_core::ContentHash;
use tokio::sync::broadcast;

use super::folder::{Folder, Found};
use super::news::{News, Tell};
use super::settle::{Settling, Touch};
use super::watch::{Sighting, Watches, explain};

/// Who saves, where the folder does.
pub const SENDER: &str = "dev";
/// The store's own limit for one transaction.
const MAX_BULK: usize = 10_000;
/// How often a save is tried again while others save the same file at the same moment.
const MAX_RETRIES: usize = 100;

/// What the mirror waits for.
pub(super) enum Notice {
    Seen(Sighting),
    Committed(Box<Change>),
    /// Commits were or may have been missed: compare everything.
    Lagged,
    Stop,
}

impl From<Sighting> for Notice {
    fn from(sighting: Sighting) -> Notice {
        Notice::Seen(sighting)
    }
}

/// A folder that is watched already, and the files that it held when it was read.
pub struct Opened {
    folder: Folder,
    watches: Watches,
    sender: Sender<Notice>,
    notices: Receiver<Notice>,
    read: BTreeMap<String, ContentHash>,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// What the folder held when it was last read or written; nothing where there was no file.
    pub(super) hash: Option<ContentHash>,
    /// The newest version in the store that was heard of; 0 before any.
    pub(super) version: u64,
}

/// Keeps a folder and the store equal, until it is stopped.
pub struct Mirror {
    sender: Sender<Notice>,
    thread: std::thread::JoinHandle<()>,
    forwarder: tokio::task::JoinHandle<()>,
}

impl Opened {
    /// Opens and watches `folder`, then reads it: what changes from here on is not lost.
    pub fn read(folder: Folder, tell: &Tell) -> Result<(Opened, Vec<SeedFile>), OpenError> {
        let (sender, notices) = mpsc::channel();
        let failed = |error| OpenError::Watch { folder: folder.path().into(), error };
        let mut watches = Watches::start(folder.path(), sender.clone()).map_err(|error| failed(explain(&error)))?;
        let mut read = BTreeMap::new();
        let mut files = Vec::new();
        for path in list_watched(&folder, &mut watches, "", tell).map_err(failed)? {
            match folder.read(&path) {
                Ok(Some(content)) => {
                    read.insert(path.clone(), content.hash);
                    files.push(SeedFile { path, bytes: content.bytes });
                }
                Ok(None) => {}
                Err(error) => tell(News::Refused { path, error: error.to_string() }),
            }
        }
        Ok((Opened { folder, watches, sender, notices, read }, files))
    }

    /// Mirrors the folder to and from `store`, which was seeded with what was read. Needs a tokio runtime.
    pub fn mirror(self, store: Store, write_back: bool, tell: Tell) -> std::io::Result<Mirror> {
        let forwarder = tokio::spawn(forward(store.subscribe(), self.sender.clone()));
        let rows: BTreeMap<String, Row> = store.current().into_iter().map(|row| (row.path.clone(), row)).collect();
        let known = self.read.into_iter().map(|(path, hash)| {
            // Another's save that came right after the seed is not known, but for its number it would count as such.
            let same = |row: &&Row| row.content_hash.as_deref() == Some(&*hash.to_string());
            let version = rows.get(&path).filter(same).map_or(0, |row| row.version);
            (path, Known { hash: Some(hash), version })
        });
        let work = Work {
            known: known.collect(),
            folder: self.folder,
            watches: self.watches,
            store,
            settling: Settling::default(),
            write_back,
            warned: BTreeSet::new(),
            tell,
        };
        let sender = self.sender;
        // The thread holds the other end.
        let _ = sender.send(Notice::Lagged);
        let notices = self.notices;
        let thread = std::thread::Builder::new().name("mirror".into()).spawn(move || work.run(&notices))?;
        Ok(Mirror { sender, thread, forwarder })
    }
}

/// Why a folder cannot be mirrored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("cannot watch the folder {folder:?}: {error}")]
    Watch { folder: PathBuf, error: String },
}

impl Mirror {
    /// Stops watching and writing.
    pub fn stop(self) {
        self.forwarder.abort();
        // Both fail only where the thread is gone already.
        let _ = self.sender.send(Notice::Stop);
        let _ = self.thread.join();
    }
}

async fn forward(mut changes: broadcast::Receiver<Change>, to: Sender<Notice>) {
    loop {
        let notice = match changes.recv().await {
            Ok(change) => Notice::Committed(Box::new(change)),
            Err(broadcast::error::RecvError::Lagged(_)) => Notice::Lagged,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if to.send(notice).is_err() {
            return;
        }
    }
}

/// The files below `directory`, all of whose directories are watched when this returns.
fn list_watched(folder: &Folder, watches: &mut Watches, directory: &str, tell: &Tell) -> Result<Vec<String>, String> {
    loop {
        let listing = folder.list(directory).map_err(|error| error.to_string())?;
        let mut added = false;
        for directory in &listing.directories {
            added |= watches.add(directory).map_err(|error| explain(&error))?;
        }
        if !added {
            for (path, error) in listing.refused {
                tell(News::Refused { path, error });
            }
            return Ok(listing.files);
        }
    }
}

/// The one thread that reads and writes the folder: so nothing of its own comes between looking and acting.
pub(super) struct Work {
    pub(super) folder: Folder,
    watches: Watches,
    pub(super) store: Store,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) settling: Settling,
    pub(super) write_back: bool,
    /// Paths whose trouble was told already.
    warned: BTreeSet<String>,
    pub(super) tell: Tell,
}

impl Work {
    fn run(mut self, notices: &Receiver<Notice>) {
        loop {
            let patience = self.settling.due().map(|due| due.saturating_duration_since(Instant::now()));
            match notices.recv_timeout(patience.unwrap_or(Duration::MAX)) {
                Ok(Notice::Seen(sighting)) => self.see(sighting),
                Ok(Notice::Committed(change)) => self.apply(&change),
                Ok(Notice::Lagged) => self.compare_with_store(),
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let paths = self.settling.take();
                    self.take_in(&paths);
                }
            }
        }
    }

    fn see(&mut self, sighting: Sighting) {
        let (path, gone) = match &sighting {
            Sighting::Lost(why) => {
                (self.tell)(News::LookingAgain { why: why.clone() });
                return self.settling.touch("", Touch::Finished, Instant::now());
            }
            Sighting::Gone(path) => (path, true),
            Sighting::Present(path) | Sighting::Writing(path) => (path, false),
        };
        let Some(path) = self.folder.relative(path) else { return };
        if gone && path.is_empty() {
            return (self.tell)(News::FolderGone { folder: self.folder.path().display().to_string() });
        }
        if gone {
            self.watches.forget(&path);
        }
        let unfinished = matches!(sighting, Sighting::Writing(_)) || (gone && !self.live_below(&path).is_empty());
        let touch = if unfinished { Touch::Unfinished } else { Touch::Finished };
        self.settling.touch(&path, touch, Instant::now());
    }

    /// Compares `paths` of the folder with what is known, and sends the differences as one change.
    fn take_in(&mut self, paths: &BTreeSet<String>) {
        let mut files = BTreeSet::new();
        for path in paths {
            files.extend(self.live_below(path));
            match self.folder.look(path) {
                Ok(Found::Directory) => match list_watched(&self.folder, &mut self.watches, path, &self.tell) {
                    Ok(found) => files.extend(found),
                    Err(error) => self.warn(path, error),
                },
                Ok(Found::Nothing) => {}
                Ok(Found::File | Found::TooLarge(_) | Found::Special) => {
                    files.insert(path.clone());
                }
                Err(error) => self.warn(path, error.to_string()),
            }
        }
        let entries: Vec<BulkEntry> = files.into_iter().filter_map(|path| self.difference(path)).collect();
        for part in entries.chunks(MAX_BULK) {
            self.send(part.to_vec());
        }
    }

    /// The files at and below `path` that the folder held when it was last looked at.
    fn live_below(&self, path: &str) -> Vec<String> {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let is_live = |at: &str| self.known.get(at).is_some_and(|known| known.hash.is_some());
        let own = Some(path.to_owned()).filter(|path| is_live(path));
        let others = self.known.range(below.clone()..).map(|(at, _)| at).take_while(|at| at.starts_with(&below));
        own.into_iter().chain(others.filter(|at| is_live(at)).cloned()).collect()
    }

    /// What must be saved so that the store holds `path` as the folder does.
    fn difference(&mut self, path: String) -> Option<BulkEntry> {
        let content = match self.folder.read(&path) {
            Ok(content) => content,
            Err(error) => {
                self.warn(&path, error.to_string());
                return None;
            }
        };
        self.warned.remove(&path);
        let known = self.known.get(&path).copied().unwrap_or_default();
        if content.as_ref().map(|content| content.hash) == known.hash {
            return None;
        }
        let content = content.map(|content| FileContent::from_bytes(content.bytes));
        Some(BulkEntry { path, content, expected_version: Some(known.version) })
    }

    /// Saves `entries` in one transaction. Of two that changed the same file the folder wins, and says so.
    fn send(&mut self, mut entries: Vec<BulkEntry>) {
        for _ in 0..MAX_RETRIES {
            if entries.is_empty() {
                return;
            }
            match self.save(&entries) {
                Ok(rows) => return self.sent(&rows),
                Err((index, StoreError::Conflict { path, current, .. })) => {
                    let sender = self.store.newest(&path).map_or_else(String::new, |row| row.sender);
                    entries[index].expected_version = Some(current);
                    (self.tell)(News::Conflict { path, version: current, sender });
                }
                Err((_, StoreError::TooManyWrites { retry_after_ms })) => {
                    std::thread::sleep(Duration::from_millis(retry_after_ms));
                }
                Err((index, error)) => {
                    let refused = entries.remove(index);
                    self.warn(&refused.path, error.to_string());
                }
            }
        }
        for entry in entries {
            self.warn(&entry.path, "others keep saving it".into());
        }
    }

    /// One file is an update of its own, more are a bulk. An error names the entry at fault.
    fn save(&self, entries: &[BulkEntry]) -> Result<Vec<Row>, (usize, StoreError)> {
        let rows = match entries {
            [BulkEntry { path, content: Some(content), expected_version }] => {
                self.store.upsert(path, content.clone(), *expected_version, SENDER).map(|row| vec![row])
            }
            [BulkEntry { path, content: None, expected_version }] => {
                self.store.delete(path, *expected_version, SENDER).map(|row| vec![row])
            }
            entries => self.store.bulk(entries.to_vec(), SENDER).map(|bulk| bulk.files),
        };
        rows.map_err(|error| match error {
            StoreError::Entry { index, error, .. } => (index, *error),
            other => (0, other),
        })
    }

    fn sent(&mut self, rows: &[Row]) {
        for row in rows {
            let hash = row.content_hash.as_deref().and_then(|hash| ContentHash::parse(hash).ok());
            self.known.insert(row.path.clone(), Known { hash, version: row.version });
        }
        let (deleted, saved): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.deleted);
        let paths = |rows: Vec<&Row>| rows.into_iter().map(|row| row.path.clone()).collect();
        (self.tell)(News::Sent { saved: paths(saved), deleted: paths(deleted) });
    }

    /// Tells of trouble with `path`, once until it is over.
    pub(super) fn warn(&mut self, path: &str, error: String) {
        if self.warned.insert(path.into()) {
            (self.tell)(News::Refused { path: path.into(), error });
        }
    }
}

#[cfg(test)]
mod tests;
