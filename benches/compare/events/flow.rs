//! Changes on their way from a sender to the disk.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use local_backend::{Backend, BulkEntry, FileContent, Options, Store};

use super::Mode;
use super::floor::Floor;
use super::follower::Follower;
use super::watcher::{Seen, watch};
use crate::agent;
use crate::bench::Bench;
use crate::content;
use crate::scratch::Place;

/// Bytes of each file.
pub const SIZE: usize = 4096;

/// Seconds from send to seen, in the order of sending. A burst is one send.
pub type Lags = Vec<f64>;

/// Files that are edited over and over.
const EDITED: usize = 200;
/// Between two changes that come one at a time: nobody is busy any more.
const REST: Duration = Duration::from_millis(2);
const DEADLINE: Duration = Duration::from_secs(60);
/// Where all files lie.
const FOLDER: &str = "src";

/// A backend and somebody who follows it.
pub struct Flow {
    runtime: tokio::runtime::Runtime,
    backend: Backend,
    store: Store,
    follower: Option<Child>,
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
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let backend = runtime.block_on(Backend::start(Options::default())).expect("a backend");
        let child = (follower.start)(temp.path(), &backend);
        // Made only now: who starts on an empty project may put the folder aside and make it anew.
        std::fs::create_dir_all(&folder).expect("a directory");
        Flow {
            store: backend.store(),
            follower: child,
            floor: Floor::new(temp.path()),
            seen: watch(&folder, SIZE),
            text: content::source(7, SIZE - 9),
            next: 0,
            waiting: HashMap::new(),
            sent: Vec::new(),
            folder,
            runtime,
            backend,
            temp,
        }
    }

    pub fn run(&mut self, bench: &Bench, mode: Mode) -> Lags {
        let base = self.sent.len();
        match mode {
            Mode::OneAtATime => {
                for at in 0..bench.size(300, 20) {
                    self.send(at % EDITED);
                    self.wait();
                    std::thread::sleep(REST);
                }
            }
            Mode::Rate(rate) => {
                let started = Instant::now();
                for at in 0..bench.size(rate.min(300) + 2 * rate, 50) {
                    let due = Duration::from_secs_f64(at as f64 / rate as f64);
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                    self.send(at % EDITED);
                }
            }
            Mode::Burst(files) => (0..files).for_each(|at| self.send(10_000 + at)),
            Mode::Bulk(files) => self.send_at_once(files),
        }
        self.wait();
        let first = self.sent[base].0;
        let lag = |&(sent, seen): &(Instant, Option<Instant>)| {
            let since = if matches!(mode, Mode::Burst(_)) { first } else { sent };
            (seen.expect("it was waited for") - since).as_secs_f64()
        };
        self.sent[base..].iter().map(lag).collect()
    }

    pub fn stop(mut self) {
        if let Some(mut child) = self.follower.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
        self.runtime.block_on(self.backend.stop());
        drop(self.temp);
    }

    fn send(&mut self, file: usize) {
        let (name, text) = self.change(file);
        self.sent.push((Instant::now(), None));
        if self.follower.is_some() {
            let path = format!("{FOLDER}/{name}");
            self.store.upsert(&path, FileContent::Text(text), None, "bench").expect("a save");
        } else {
            self.floor.write(&self.folder.join(name), &text);
        }
    }

    fn send_at_once(&mut self, files: usize) {
        let changes: Vec<_> = (0..files).map(|at| self.change(20_000 + at)).collect();
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
    fn wait(&mut self) {
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
