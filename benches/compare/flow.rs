//! Changes on their way from a sender to the disk.

mod floor;
mod follower;
mod watcher;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use local_backend::{BulkEntry, Faults, FileContent, Store};

pub use follower::{AGENT, ALL, Follower, NODE, PARENT, TRACED, named, traced_to};

use crate::agent;
use crate::content;
use crate::scratch::Place;
use crate::served::Served;
use floor::Floor;
use follower::Following;
use watcher::{Seen, watch};

/// Bytes of each file.
pub const SIZE: usize = 4096;
/// Files that are edited over and over.
pub const EDITED: usize = 200;

const DEADLINE: Duration = Duration::from_secs(60);
/// Where all files lie.
const FOLDER: &str = "src";

/// A backend and somebody who follows it.
pub struct Flow {
    backend: Served,
    store: Store,
    follower: Option<Following>,
    floor: Floor,
    seen: Receiver<Seen>,
    folder: PathBuf,
    text: String,
    /// Of the next change.
    next: u64,
    /// Changes that were not seen yet, by file.
    waiting: HashMap<String, VecDeque<u64>>,
    /// When each change was sent, and seen.
    sent: Vec<(Instant, Option<Instant>)>,
    temp: tempfile::TempDir,
}

impl Flow {
    pub fn start(follower: &Follower) -> Flow {
        let temp = Place::Tmpfs.dir();
        let folder = agent::project(temp.path()).join(FOLDER);
        std::fs::create_dir_all(&folder).expect("a directory");
        let backend = Served::start(Vec::new());
        let follower = (follower.start)(temp.path(), &backend);
        // Made only now: who starts on an empty project may put the folder aside and make it anew.
        std::fs::create_dir_all(&folder).expect("a directory");
        Flow {
            store: backend.store(),
            follower,
            floor: Floor::new(temp.path()),
            seen: watch(&folder, SIZE),
            text: content::source(7, SIZE - 9),
            next: 0,
            waiting: HashMap::new(),
            sent: Vec::new(),
            folder,
            backend,
            temp,
        }
    }

    /// How many changes were sent.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// When each change was sent, and when it was seen; everything was waited for.
    pub fn times(&self) -> impl Iterator<Item = (Instant, Instant)> {
        self.sent.iter().map(|(sent, seen)| (*sent, seen.expect("it was waited for")))
    }

    /// What can go wrong on the way.
    pub fn faults(&self) -> Faults {
        self.backend.faults()
    }

    /// When the agent joined the channel again.
    pub fn joined(&self) -> Instant {
        self.follower.as_ref().expect("an agent").joined()
    }

    /// Of the follower.
    pub fn pid(&self) -> Option<u32> {
        self.follower.as_ref().map(Following::pid)
    }

    /// Where everything lies.
    pub fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// Ends everything; the directory stays as long as what this gives.
    pub fn stop(mut self) -> tempfile::TempDir {
        drop(self.follower.take());
        self.backend.stop();
        self.temp
    }

    /// Changes one file.
    pub fn send(&mut self, file: usize) {
        let (name, text) = self.change(file);
        self.sent.push((Instant::now(), None));
        if self.follower.is_some() {
            let path = format!("{FOLDER}/{name}");
            self.store.upsert(&path, FileContent::Text(text), None, "bench").expect("a save");
        } else {
            self.floor.write(&self.folder.join(name), &text);
        }
    }

    /// Changes the edited files in turn, so many in a second, so many in all.
    pub fn send_steadily(&mut self, rate: usize, count: usize) {
        let started = Instant::now();
        for at in 0..count {
            let due = Duration::from_secs_f64(at as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            self.send(at % EDITED);
        }
    }

    /// Changes these files in one transaction.
    pub fn send_at_once(&mut self, files: std::ops::Range<usize>) {
        let changes: Vec<_> = files.map(|file| self.change(file)).collect();
        let sent = Instant::now();
        self.sent.extend(changes.iter().map(|_| (sent, None)));
        if self.follower.is_none() {
            return changes.iter().for_each(|(name, text)| self.floor.write(&self.folder.join(name), text));
        }
        let entry = |(name, text)| BulkEntry {
            path: format!("{FOLDER}/{name}"),
            content: Some(FileContent::Text(text)),
            expected_version: None,
        };
        self.store.bulk(changes.into_iter().map(entry).collect(), "bench").expect("a save");
    }

    /// The next change, of this file: its number, and text that looks like code.
    fn change(&mut self, file: usize) -> (String, String) {
        let name = format!("File{file}.tsx");
        let text = format!("{:08}\n{}", self.next, self.text);
        self.waiting.entry(name.clone()).or_default().push_back(self.next);
        self.next += 1;
        (name, text)
    }

    /// Until every change is seen. Of a file that changed twice the later change shows the earlier one, too.
    pub fn wait(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(seen) = self.seen.recv_timeout(DEADLINE) else {
                panic!("{} files never showed their change", self.waiting.len());
            };
            let Some(waiting) = self.waiting.get_mut(&seen.name) else { continue };
            while waiting.front().is_some_and(|number| *number <= seen.number) {
                let number = waiting.pop_front().expect("there is one");
                self.sent[number as usize].1 = Some(seen.at);
            }
            if waiting.is_empty() {
                self.waiting.remove(&seen.name);
            }
        }
    }
}
