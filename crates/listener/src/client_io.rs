use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use crate::Limits;
use crate::places::Place;

/// What a client gets whose request head does not come to an end.
const HEAD_TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Whether a connection is answering a request; shared by its socket, its service and its task.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    busy: AtomicBool,
    changed: Notify,
}

impl Activity {
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Resolves after the next change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The socket of one client. Ends a request head that takes too long, and a response that is not read.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: TcpStream,
    activity: Arc<Activity>,
    head_time: Duration,
    stall_time: Duration,
    /// Runs while a request head is being received.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while the client does not take what is sent.
    stall: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, place: Place, activity: Arc<Activity>, limits: &Limits) -> ClientIo {
        ClientIo {
            stream,
            activity,
            head_time: limits.head_time,
            stall_time: limits.stall_time,
            head: Some(Box::pin(sleep(limits.head_time))),
            stall: None,
            _place: place,
        }
    }

    /// Starts the time of a request head with its first byte.
    fn received(&mut self) {
        if self.activity.is_busy() {
            self.head = None;
        } else if self.head.is_none() {
            self.head = Some(Box::pin(sleep(self.head_time)));
        }
    }

    fn waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_busy() {
            self.head = None;
        }
        let Some(head) = &mut self.head else { return Poll::Pending };
        ready!(head.as_mut().poll(cx));
        // Nothing is being sent: no request is being answered. A client that is gone needs no answer.
        let _ = self.stream.try_write(HEAD_TIMED_OUT);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request head took too long")))
    }

    /// Turns a write that has waited too long into an error.
    fn sent<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stall = None;
            return sent;
        }
        let stall_time = self.stall_time;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_time)));
        ready!(stall.as_mut().poll(cx));
        let now = Instant::now();
        stall.as_mut().reset(now.checked_add(stall_time).unwrap_or(now));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response")))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match read {
            Poll::Pending => this.waiting(cx),
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                this.received();
                read
            }
            ended => ended,
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.sent(cx, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
