//! What the waiting page follows: `state` whenever the view or the output changes, `ready` once the preview answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::body::{AnyBody, BoxError, streamed};
use crate::{Lines, View, page, pool};

/// How often the output is looked at, and a dev server that should answer is tried.
const EVERY: Duration = Duration::from_millis(500);
/// After this long without a change a comment is sent, so that proxies on the way keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Follower {
    view: watch::Receiver<View>,
    lines: Lines,
    /// What was sent last.
    sent: String,
    sent_at: Instant,
    ended: bool,
}

/// The stream of events for one page.
pub(crate) fn follow(view: watch::Receiver<View>, lines: Lines) -> Response<AnyBody> {
    let follower = Follower { view, lines, sent: String::new(), sent_at: Instant::now(), ended: false };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Bytes::from(event), follower))
    });
    stream_of(events)
}

/// An answer that is a stream of events.
pub(crate) fn stream_of(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<AnyBody> {
    let frames = events.map(|event| Ok::<_, BoxError>(Frame::data(event)));
    let mut response = Response::new(streamed(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Follower {
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        loop {
            let view = self.view.borrow_and_update().clone();
            if let Some(upstream) = &view.upstream
                && pool::is_reachable(upstream).await
            {
                self.ended = true;
                return Some("event: ready\ndata: {}\n\n".to_owned());
            }
            let state = page::state(&view, &self.lines);
            if state != self.sent {
                self.sent_at = Instant::now();
                self.sent.clone_from(&state);
                return Some(format!("event: state\ndata: {state}\n\n"));
            }
            if self.sent_at.elapsed() >= KEEP_ALIVE {
                self.sent_at = Instant::now();
                return Some(": the same\n\n".to_owned());
            }
            tokio::select! {
                changed = self.view.changed() => changed.ok()?,
                () = sleep(EVERY) => {}
            }
        }
    }
}

/// What the streams of all pages need.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) view: watch::Receiver<View>,
    pub(crate) lines: Lines,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("view", &self.view).field("lines", &Arc::as_ptr(&self.lines)).finish()
    }
}
