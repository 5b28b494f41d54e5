//! Keeps a folder and the store of the backend equal.

mod mirror_loop;
mod save;
mod write_back;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};

use local_backend::{Change, Row, SeedFile, Store};
use sync_core::ContentHash;
use tokio::sync::broadcast;

use super::folder::Folder;
use super::mirror_event::{EventSink, MirrorEvent};
use super::settle::Settling;
use super::watch::{FileSignal, Watches, explain};
use mirror_loop::MirrorLoop;

/// The sender of changes that were made in the folder.
pub const SENDER: &str = "dev";
/// What the mirror waits for.
enum Notice {
    Signal(FileSignal),
    Committed(Box<Change>),
    /// Commits were or may have been missed: compare everything.
    Lagged,
    Stop,
}

impl From<FileSignal> for Notice {
    fn from(signal: FileSignal) -> Notice {
        Notice::Signal(signal)
    }
}

/// Whether changes that were saved through the backend are written to the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteBack {
    /// They are.
    On,
    /// The folder is only read.
    Off,
}

/// A folder that is watched already, and the files that it had when it was read.
pub struct Opened {
    folder: Folder,
    watches: Watches,
    sender: Sender<Notice>,
    notices: Receiver<Notice>,
    read: BTreeMap<String, ContentHash>,
}

/// What the mirror knows of a path.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The hash of the file when it was last read or written. None where there was no file.
    hash: Option<ContentHash>,
    /// The newest known version in the store; 0 before the first.
    version: u64,
}

/// Keeps a folder and the store equal, until it is stopped.
pub struct Mirror {
    sender: Sender<Notice>,
    thread: std::thread::JoinHandle<()>,
    forwarder: tokio::task::JoinHandle<()>,
}

impl Opened {
    /// Opens and watches `folder`, then reads it, so that no later change is lost.
    ///
    /// # Errors
    /// The folder cannot be watched or read.
    pub fn read(folder: Folder, report: &EventSink) -> Result<(Opened, Vec<SeedFile>), OpenError> {
        let (sender, notices) = mpsc::channel();
        let failed = |error| OpenError::Watch { folder: folder.path().into(), error };
        let mut watches = Watches::start(folder.path(), sender.clone()).map_err(|error| failed(explain(&error)))?;
        let mut read = BTreeMap::new();
        let mut files = Vec::new();
        for path in list_watched(&folder, &mut watches, "", report).map_err(failed)? {
            match folder.read(&path) {
                Ok(Some(content)) => {
                    read.insert(path.clone(), content.hash);
                    files.push(SeedFile { path, bytes: content.bytes });
                }
                Ok(None) => {}
                Err(error) => report(MirrorEvent::Refused { path, error: error.to_string() }),
            }
        }
        Ok((Opened { folder, watches, sender, notices, read }, files))
    }

    /// Mirrors the folder to and from `store`, which contains what was read. Needs a tokio runtime.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn mirror(self, store: Store, write_back: WriteBack, report: EventSink) -> std::io::Result<Mirror> {
        let forwarder = tokio::spawn(forward(store.subscribe(), self.sender.clone()));
        let rows: BTreeMap<String, Row> = store.current().into_iter().map(|row| (row.path.clone(), row)).collect();
        let known = self.read.into_iter().map(|(path, hash)| {
            // A save that came right after the start is not known yet, although its version is newer.
            let same = |row: &&Row| row.content_hash.as_deref() == Some(&*hash.to_string());
            let version = rows.get(&path).filter(same).map_or(0, |row| row.version);
            (path, Known { hash: Some(hash), version })
        });
        let work = MirrorLoop {
            known: known.collect(),
            folder: self.folder,
            watches: self.watches,
            store,
            settling: Settling::default(),
            write_back,
            warned: BTreeSet::new(),
            report,
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
fn list_watched(
    folder: &Folder,
    watches: &mut Watches,
    directory: &str,
    report: &EventSink,
) -> Result<Vec<String>, String> {
    loop {
        let listing = folder.list(directory).map_err(|error| error.to_string())?;
        let mut added = false;
        for directory in &listing.directories {
            added |= watches.add(directory).map_err(|error| explain(&error))?;
        }
        if !added {
            for entry in listing.refused {
                report(MirrorEvent::Refused { path: entry.path, error: entry.error });
            }
            return Ok(listing.files);
        }
    }
}

#[cfg(test)]
mod tests;
