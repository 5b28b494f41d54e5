use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::digest::content_hash;
use crate::faults::SnapshotFaults;
use crate::http::server::App;

/// Bytes of one piece of the body.
const PIECE: usize = 64 << 10;
/// A stalled download is let go after this: longer than anybody waits, and bounded.
const STALL: Duration = Duration::from_secs(600);

/// A whole object about to be sent.
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

/// The object or the range of it that the request asks for, with the faults that are switched on.
pub fn respond(app: &App, download: Download, headers: &HeaderMap) -> Response {
    let faults = app.faults.roll(|all, random| {
        let no_range = all.snapshot.no_range;
        let strikes = all.snapshot.chance.strikes(random);
        if strikes { all.snapshot.clone() } else { SnapshotFaults { no_range, ..SnapshotFaults::default() } }
    });
    if let Some(status) = faults.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, "a fault was asked for").into_response();
    }
    let mut bytes = download.bytes;
    if let Some(at) = faults.wrong_byte_at {
        let mut wrong = bytes.to_vec();
        wrong.get_mut(at as usize).into_iter().for_each(|byte| *byte ^= 0xff);
        bytes = wrong.into();
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = header(IF_RANGE).is_none_or(|etag| etag == download.etag);
    let range = header(RANGE).filter(|_| same && !faults.no_range).map(|range| parse(range, bytes.len()));
    let (status, start, end) = match range {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, bytes.len()),
        Some(Range::Part(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
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
    set(CONTENT_LENGTH, (end - start).to_string());
    set(ETAG, download.etag);
    if !faults.no_range {
        set(ACCEPT_RANGES, "bytes".into());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        set(CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, bytes.len()));
    }
    response
}

/// The bytes in pieces. A truncated body ends with an error, which closes TCP; a stalled one with silence.
fn body(bytes: Bytes, faults: &SnapshotFaults) -> Body {
    let (truncate_at, stall_at) = (faults.truncate_at, faults.stall_at);
    if truncate_at.is_none() && stall_at.is_none() {
        return Body::from_stream(stream::iter(pieces(bytes).map(Ok::<_, io::Error>)));
    }
    let until = truncate_at.into_iter().chain(stall_at).min().unwrap_or(0);
    let sent = bytes.slice(..bytes.len().min(until as usize));
    let stalls = stall_at == Some(until);
    let steps = pieces(sent).map(Some).chain([None]);
    Body::from_stream(stream::unfold(steps, move |mut steps| async move {
        match steps.next()? {
            Some(piece) => Some((Ok(piece), steps)),
            None => {
                // Lets what was sent leave before the connection is torn down.
                tokio::time::sleep(if stalls { STALL } else { Duration::from_millis(20) }).await;
                Some((Err(io::Error::other("a fault was asked for")), steps))
            }
        }
    }))
}

fn pieces(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (0..bytes.len()).step_by(PIECE);
    starts.map(move |start| bytes.slice(start..bytes.len().min(start + PIECE)))
}

#[derive(Debug, PartialEq)]
enum Range {
    /// From, up to but not including.
    Part(usize, usize),
    Unsatisfiable,
    /// Not understood, or more than one range: the whole is a right answer.
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
    if start >= end { Range::Unsatisfiable } else { Range::Part(start, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_a_range() {
        assert_eq!(parse("bytes=0-3", 10), Range::Part(0, 4));
        assert_eq!(parse("bytes=4-", 10), Range::Part(4, 10));
        assert_eq!(parse("bytes=4-99", 10), Range::Part(4, 10));
        assert_eq!(parse("bytes=-3", 10), Range::Part(7, 10));
        assert_eq!(parse("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(parse("bytes=-0", 10), Range::Unsatisfiable);
        for ignored in ["bytes=3-1", "bytes=1-2,4-5", "items=0-3", "bytes=a-b", "bytes="] {
            assert_eq!(parse(ignored, 10), Range::Ignored, "{ignored}");
        }
    }
}
