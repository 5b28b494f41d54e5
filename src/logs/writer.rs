use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Lines waiting for a slow reader; what comes beyond is dropped and counted.
const QUEUE: usize = 4096;

/// Where formatted lines go.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

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

pub(super) fn start() -> (Lines, Flush) {
    let (queue, waiting) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    let thread = std::thread::Builder::new().name("logs".into()).spawn(move || write_all(waiting, &counter)).ok();
    (Lines { queue: queue.clone(), dropped }, Flush { queue, thread })
}

impl Lines {
    /// Queues a line without its line break.
    pub(super) fn write(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
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
fn write_all(waiting: Receiver<Message>, dropped: &AtomicU64) {
    let mut out = std::io::stdout();
    while let Ok(Message::Line(line)) = waiting.recv() {
        let _ = writeln!(out, "{line}");
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, r#"{{"level":"warn","event_type":"logs_dropped","lines":{lost}}}"#);
        }
    }
    let _ = out.flush();
}
