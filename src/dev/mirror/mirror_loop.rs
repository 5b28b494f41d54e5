//! The one thread that reads and writes the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use local_backend::{BulkEntry, Store};

use super::super::folder::{Folder, PathState};
use super::super::mirror_event::{EventSink, MirrorEvent};
use super::super::settle::{Settling, Touch};
use super::super::watch::{FileSignal, Watches};
use super::{Known, Notice, WriteBack, list_watched};

/// The store's limit for one transaction.
const MAX_BULK: usize = 10_000;

/// Owns the folder, so that no other write of the mirror comes between a check and the action that follows.
pub(super) struct MirrorLoop {
    pub(super) folder: Folder,
    pub(super) watches: Watches,
    pub(super) store: Store,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) settling: Settling,
    pub(super) write_back: WriteBack,
    /// Paths whose error was reported already.
    pub(super) warned: BTreeSet<String>,
    pub(super) report: EventSink,
}

impl MirrorLoop {
    pub(super) fn run(mut self, notices: &Receiver<Notice>) {
        loop {
            let timeout = self.settling.due().map(|due| due.saturating_duration_since(Instant::now()));
            match notices.recv_timeout(timeout.unwrap_or(Duration::MAX)) {
                Ok(Notice::Signal(signal)) => self.handle_signal(signal),
                Ok(Notice::Committed(change)) => self.apply(&change),
                Ok(Notice::Lagged) => self.compare_with_store(),
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let paths = self.settling.take();
                    self.save_differences(&paths);
                }
            }
        }
    }

    fn handle_signal(&mut self, signal: FileSignal) {
        let (path, gone) = match &signal {
            FileSignal::Lost(why) => {
                (self.report)(MirrorEvent::ComparingAll { why: why.clone() });
                return self.settling.touch("", Touch::Finished, Instant::now());
            }
            FileSignal::Gone(path) => (path, true),
            FileSignal::Present(path) | FileSignal::Writing(path) => (path, false),
        };
        let Some(path) = self.folder.relative(path) else { return };
        if gone && path.is_empty() {
            return (self.report)(MirrorEvent::FolderGone { folder: self.folder.path().display().to_string() });
        }
        if gone {
            self.watches.forget(&path);
        }
        let unfinished = matches!(signal, FileSignal::Writing(_)) || (gone && !self.live_below(&path).is_empty());
        let touch = if unfinished { Touch::Unfinished } else { Touch::Finished };
        self.settling.touch(&path, touch, Instant::now());
    }

    /// Compares `paths` of the folder with what is known, and sends the differences as one change.
    fn save_differences(&mut self, paths: &BTreeSet<String>) {
        let mut files = BTreeSet::new();
        for path in paths {
            files.extend(self.live_below(path));
            match self.folder.state_of(path) {
                Ok(PathState::Directory) => match list_watched(&self.folder, &mut self.watches, path, &self.report) {
                    Ok(found) => files.extend(found),
                    Err(error) => self.warn(path, error),
                },
                Ok(PathState::Nothing) => {}
                Ok(PathState::File | PathState::TooLarge(_) | PathState::Special) => {
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

    /// The files at and below `path` that the folder had when it was last read.
    fn live_below(&self, path: &str) -> Vec<String> {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let is_live = |at: &str| self.known.get(at).is_some_and(|known| known.hash.is_some());
        let own = Some(path.to_owned()).filter(|path| is_live(path));
        let others = self.known.range(below.clone()..).map(|(at, _)| at).take_while(|at| at.starts_with(&below));
        own.into_iter().chain(others.filter(|at| is_live(at)).cloned()).collect()
    }
}
