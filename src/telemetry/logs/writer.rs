use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crate::telemetry::progress;

/// Lines waiting for a slow reader; what comes beyond is dropped and counted.
const QUEUE: usize = 4096;

/// Lines dropped in the life of this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped until now, since nobody read them.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Where formatted lines go.
#[derive(Debug, Clone)]
pub(super) struct Lines(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Line(String),
    End,
}

/// Ends the writing thread once everything queued is written.
#[derive(Debug)]
pub struct Flush {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// `say_dropped` makes the line that says how many were lost before it.
pub(super) fn start(say_dropped: impl Fn(u64) -> String + Send + 'static) -> (Lines, Flush) {
    let (queue, waiting) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("logs".into()).spawn(move || write_all(waiting, say_dropped)).ok();
    (Lines(queue.clone()), Flush { queue, thread })
}

impl Lines {
    /// Queues a line without its line break.
    pub(super) fn write(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Message::Line(line)) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        // Fails only where the thread is gone, and then there is nothing to wait for.
        let _ = self.queue.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A line that cannot be written (standard output closed) is lost: there is nowhere left to say so.
fn write_all(waiting: Receiver<Message>, say_dropped: impl Fn(u64) -> String) {
    let mut out = std::io::stdout();
    let mut said = 0;
    while let Ok(Message::Line(line)) = waiting.recv() {
        let lost = dropped();
        progress::aside(|| {
            let _ = writeln!(out, "{line}");
            if lost > said {
                let _ = writeln!(out, "{}", say_dropped(lost - said));
            }
        });
        said = lost;
    }
    let _ = out.flush();
}
