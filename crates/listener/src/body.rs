use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::client_io::Activity;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request did not go on for longer than `stall_time` of [`crate::Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StalledBody;

impl std::fmt::Display for StalledBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request body stopped in the middle")
    }
}

impl std::error::Error for StalledBody {}

/// The body of a request. Reading it fails with [`StalledBody`] where the client stops sending.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    stall_time: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, stall_time: Duration) -> RequestBody {
        RequestBody { incoming, stall_time, stall: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.stall = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let stall_time = this.stall_time;
        let stall = this.stall.get_or_insert_with(|| Box::pin(sleep(stall_time)));
        stall.as_mut().poll(cx).map(|()| Some(Err(StalledBody.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

pin_project_lite::pin_project! {
    /// A response's body, which keeps its connection busy until it has been sent.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        inner: B,
        busy: BusyGuard,
    }
}

/// Marks a connection as idle when it is dropped.
pub(crate) struct BusyGuard {
    activity: Arc<Activity>,
    kept: bool,
}

impl BusyGuard {
    pub(crate) fn new(activity: Arc<Activity>) -> BusyGuard {
        activity.set_busy(true);
        BusyGuard { activity, kept: false }
    }

    /// The connection stays busy for good: it is no longer an HTTP connection.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.activity.set_busy(false);
        }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: B, busy: BusyGuard) -> ResponseBody<B> {
        ResponseBody { inner, busy }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
