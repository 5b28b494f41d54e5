use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;

/// Most frames that may wait for one socket: a burst of 10,000 must pass.
const MAX_FRAMES: usize = 65_536;

/// Sends frames to one socket. A client that reads too slowly is cut, so sending never waits.
#[derive(Clone)]
pub struct FrameSender {
    frames: mpsc::Sender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
    max_bytes: usize,
}

/// The frames that wait for one socket.
pub struct Outbox {
    frames: mpsc::Receiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
}

/// A queue in which at most `max_bytes` may wait.
pub fn outbox(max_bytes: usize) -> (FrameSender, Outbox) {
    let (sender, receiver) = mpsc::channel(MAX_FRAMES);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let overflow = Arc::new(Notify::new());
    let frames =
        FrameSender { frames: sender, waiting_bytes: waiting_bytes.clone(), overflow: overflow.clone(), max_bytes };
    (frames, Outbox { frames: receiver, waiting_bytes, overflow })
}

impl FrameSender {
    /// Queues a frame. At a full queue the frame is lost and the socket is cut.
    pub fn push(&self, frame: Message) {
        let len = frame.len();
        let waiting = self.waiting_bytes.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        if waiting > self.max_bytes || self.frames.try_send(frame).is_err() {
            self.overflow.notify_one();
        }
    }
}

impl Outbox {
    /// The next frame. `None` only if every [`FrameSender`] is gone.
    pub async fn next(&mut self) -> Option<Message> {
        let frame = self.frames.recv().await?;
        self.waiting_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// The next frame, if one is queued.
    pub fn try_next(&mut self) -> Option<Message> {
        let frame = self.frames.try_recv().ok()?;
        self.waiting_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// Notified when the queue was full.
    pub fn overflow(&self) -> Arc<Notify> {
        self.overflow.clone()
    }
}
