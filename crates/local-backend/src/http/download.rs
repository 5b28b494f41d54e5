use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;

use super::rpc::FAULT;
use super::state::Api;
use crate::digest::content_hash;
use crate::faults::SnapshotFaults;

/// Bytes of one chunk of the body.
const CHUNK: usize = 64 << 10;
/// A stalled download ends after this, longer than any client waits.
const STALL: Duration = Duration::from_secs(600);

/// An object to send.
pub struct Download {
    bytes: Bytes,
    etag: String,
}

impl Download {
    pub fn new(bytes: Bytes) -> Download {
        let etag = format!("\"{}\"", content_hash(&bytes));
        Download { bytes, etag }
    }
}

/// The object, or the requested range of it, with the faults that are switched on.
pub fn respond(api: &Api, download: Download, headers: &HeaderMap) -> Response {
    let faults = api.faults.roll(|all, random| {
        let no_range = all.snapshot.no_range;
        let happens = all.snapshot.chance.happens(random);
        if happens { all.snapshot.clone() } else { SnapshotFaults { no_range, ..SnapshotFaults::default() } }
    });
    if let Some(status) = faults.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, FAULT).into_response();
    }
    let mut bytes = download.bytes;
    if let Some(at) = faults.wrong_byte_at {
        let mut wrong = bytes.to_vec();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        wrong.get_mut(at).into_iter().for_each(|byte| *byte ^= 0xff);
        bytes = wrong.into();
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = header(IF_RANGE).is_none_or(|etag| etag == download.etag);
    let range = header(RANGE).filter(|_| same && !faults.no_range).map(|range| parse(range, bytes.len()));
    let (status, start, end) = match range {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, bytes.len()),
        Some(Range::Part { start, end }) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Range::Unsatisfiable) => {
            let range = format!("bytes */{}", bytes.len());
            return (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, range)]).into_response();
        }
    };
    let mut response = Response::new(body(bytes.slice(start..end), &faults));
    *response.status_mut() = status;
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_TYPE, "application/zip".into());
    set(CONTENT_LENGTH, end.saturating_sub(start).to_string());
    set(ETAG, download.etag);
    if !faults.no_range {
        set(ACCEPT_RANGES, "bytes".into());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        set(CONTENT_RANGE, format!("bytes {start}-{}/{}", end.saturating_sub(1), bytes.len()));
    }
    response
}

/// The bytes in chunks. A truncated body ends with an error, which closes TCP; a stalled one sends nothing more.
fn body(bytes: Bytes, faults: &SnapshotFaults) -> Body {
    let (truncate_at, stall_at) = (faults.truncate_at, faults.stall_at);
    if truncate_at.is_none() && stall_at.is_none() {
        return Body::from_stream(stream::iter(chunks(bytes).map(Ok::<_, io::Error>)));
    }
    let until = truncate_at.into_iter().chain(stall_at).min().unwrap_or(0);
    let sent = bytes.slice(..bytes.len().min(usize::try_from(until).unwrap_or(usize::MAX)));
    let stalls = stall_at == Some(until);
    let steps = chunks(sent).map(Some).chain([None]);
    Body::from_stream(stream::unfold(steps, move |mut steps| async move {
        match steps.next()? {
            Some(chunk) => Some((Ok(chunk), steps)),
            None => {
                // Gives the sent bytes time to leave before TCP is closed.
                tokio::time::sleep(if stalls { STALL } else { Duration::from_millis(20) }).await;
                Some((Err(io::Error::other(FAULT)), steps))
            }
        }
    }))
}

fn chunks(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (0..bytes.len()).step_by(CHUNK);
    starts.map(move |start| bytes.slice(start..bytes.len().min(start.saturating_add(CHUNK))))
}

#[derive(Debug, PartialEq)]
enum Range {
    Part {
        start: usize,
        end: usize,
    },
    Unsatisfiable,
    /// Not supported, or more than one range: the whole object is a valid answer.
    Ignored,
}

fn parse(range: &str, len: usize) -> Range {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Ignored;
    };
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(last)) if last >= start => (start, last.saturating_add(1).min(len)),
        (Ok(start), Err(_)) if last.is_empty() => (start, len),
        (Err(_), Ok(count)) if first.is_empty() => (len.saturating_sub(count), len),
        _ => return Range::Ignored,
    };
    if start >= end { Range::Unsatisfiable } else { Range::Part { start, end } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_each_form_of_a_range() {
        let part = |start, end| Range::Part { start, end };
        assert_eq!(parse("bytes=0-3", 10), part(0, 4));
        assert_eq!(parse("bytes=4-", 10), part(4, 10));
        assert_eq!(parse("bytes=4-99", 10), part(4, 10));
        assert_eq!(parse("bytes=-3", 10), part(7, 10));
        assert_eq!(parse("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(parse("bytes=-0", 10), Range::Unsatisfiable);
        for ignored in ["bytes=3-1", "bytes=1-2,4-5", "items=0-3", "bytes=a-b", "bytes="] {
            assert_eq!(parse(ignored, 10), Range::Ignored, "{ignored}");
        }
    }
}
