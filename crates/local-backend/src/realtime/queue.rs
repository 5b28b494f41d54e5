use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;

/// Frames that may wait for one socket: a burst of 10,000 must pass.
const MAX_FRAMES: usize = 65_536;

/// The way out to one socket. A client that reads too slowly is cut, not waited for.
#[derive(Clone)]
pub struct Queue {
    frames: mpsc::Sender<Message>,
    waiting: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
    max_bytes: usize,
}

/// The socket's end of its [`Queue`].
pub struct Outbox {
    frames: mpsc::Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
}

/// `max_bytes` may wait in it.
pub fn queue(max_bytes: usize) -> (Queue, Outbox) {
    let (sender, receiver) = mpsc::channel(MAX_FRAMES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let overflow = Arc::new(Notify::new());
    let queue = Queue { frames: sender, waiting: waiting.clone(), overflow: overflow.clone(), max_bytes };
    (queue, Outbox { frames: receiver, waiting, overflow })
}

impl Queue {
    pub fn push(&self, frame: Message) {
        let len = frame.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed) + len > self.max_bytes || self.frames.try_send(frame).is_err()
        {
            self.overflow.notify_one();
        }
    }
}

impl Outbox {
    /// The next frame. Never ends while a [`Queue`] stands.
    pub async fn next(&mut self) -> Option<Message> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// The next frame that is there already.
    pub fn ready(&mut self) -> Option<Message> {
        let frame = self.frames.try_recv().ok()?;
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// Resolves once the bounds were passed.
    pub fn overflow(&self) -> Arc<Notify> {
        self.overflow.clone()
    }
}
