//! What pages in a frame post to their parent: an event stream of JSON texts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::body::AnyBody;
use crate::events;

/// After this long without a notice a comment is sent, so that proxies on the way keep the connection, and so that one
/// whose page is gone ends.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The stream for one page. A page that reads too slowly misses notices.
pub(crate) fn follow(notices: Receiver<Arc<str>>) -> Response<AnyBody> {
    let frames = stream::unfold(notices, async |mut notices| {
        let event = loop {
            match timeout(KEEP_ALIVE, notices.recv()).await {
                Ok(Ok(notice)) => break event(&notice),
                Ok(Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => break ": nothing new\n\n".to_owned(),
            }
        };
        Some((Bytes::from(event), notices))
    });
    // Clients know by the first bytes that they are connected.
    let start = stream::once(async { Bytes::from_static(b": connected\n\n") });
    events::stream_of(futures_util::StreamExt::chain(start, frames))
}

/// A text of several lines is one event.
fn event(notice: &str) -> String {
    let lines = notice.lines().flat_map(|line| ["data: ", line, "\n"]);
    lines.chain(["\n"]).collect()
}
