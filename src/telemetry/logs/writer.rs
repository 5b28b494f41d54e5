//! The thread that writes log lines.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crate::telemetry::progress;

/// The most lines that wait for a slow reader. Further lines are dropped and counted.
const QUEUE: usize = 4096;

/// The lines that this process has dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The number of lines dropped until now, because the reader was too slow.
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

/// Starts the writing thread. `dropped_line` makes the line that tells how many lines were dropped before it.
pub(super) fn start(dropped_line: impl Fn(u64) -> String + Send + 'static) -> (Lines, Flush) {
    let (queue, waiting) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("logs".into()).spawn(move || write_all(waiting, dropped_line)).ok();
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
        // Fails only where the thread has ended; then there is nothing to wait for.
        let _ = self.queue.send(Message::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// A line that cannot be written (standard output is closed) is lost.
fn write_all(waiting: Receiver<Message>, dropped_line: impl Fn(u64) -> String) {
    let mut out = std::io::stdout();
    let mut reported = 0;
    while let Ok(Message::Line(line)) = waiting.recv() {
        let lost = dropped();
        progress::without_bars(|| {
            // A standard output that was closed does not end the agent.
            let _ = writeln!(out, "{line}");
            if lost > reported {
                let _ = writeln!(out, "{}", dropped_line(lost.saturating_sub(reported)));
            }
        });
        reported = lost;
    }
    // As above.
    let _ = out.flush();
}
