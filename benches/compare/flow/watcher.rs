//! Sees what appears in a directory, as soon as inotify tells.

use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

/// A file that was opened, and what it held.
pub struct Seen {
    pub name: String,
    /// The change that it shows.
    pub number: u64,
    pub at: Instant,
}

/// Watches until nobody listens to it any more.
pub fn watch(dir: &Path, size: usize) -> Receiver<Seen> {
    let inotify = init(CreateFlags::CLOEXEC).expect("inotify");
    let flags = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE;
    add_watch(&inotify, dir, flags).expect("a watch");
    let (sender, seen) = channel();
    let dir = dir.to_owned();
    std::thread::spawn(move || follow(inotify, dir, size, &sender));
    seen
}

fn follow(inotify: rustix::fd::OwnedFd, dir: PathBuf, size: usize, sender: &Sender<Seen>) {
    let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
    let mut events = Reader::new(inotify, &mut buffer);
    loop {
        let event = events.next().expect("an event of inotify");
        assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "the observer is too slow");
        let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) else { return };
        // A file that is not whole yet will be told of again.
        let Some(number) = std::fs::read(dir.join(name)).ok().and_then(|bytes| number(&bytes, size)) else { continue };
        if sender.send(Seen { name: name.to_owned(), number, at: Instant::now() }).is_err() {
            return;
        }
    }
}

/// The number that a whole file begins with.
fn number(bytes: &[u8], size: usize) -> Option<u64> {
    let digits = bytes.get(..8).filter(|_| bytes.len() == size)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
