//! Reading HTTP answers within bounds, and the `Retry-After` header. Used by the reads of the database, by renewals, by
//! the snapshot's download and by the websocket upgrade.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::timeout;

use super::net::describe;

/// The longest time between two pieces of a body.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that asks for a longer pause is asked again after this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection broke. The text has the causes, and not the URL.
    #[error("{0}")]
    Connection(String),
    /// Nothing came for this long.
    #[error("the answer stalled for {} s", .0.as_secs())]
    Stalled(Duration),
    /// It is larger than allowed.
    #[error("the answer has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Bytes announced, or read so far.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// The connection broke, or nothing came within [`STALL_TIMEOUT`].
pub async fn next_chunk(response: &mut Response) -> Result<Option<Bytes>, BodyError> {
    match timeout(STALL_TIMEOUT, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(BodyError::Connection(describe(error))),
        Err(_) => Err(BodyError::Stalled(STALL_TIMEOUT)),
    }
}

/// A whole body of at most `limit` bytes.
///
/// # Errors
/// As [`next_chunk`], and a body above `limit`.
pub async fn read_whole(mut response: Response, limit: u64) -> Result<Vec<u8>, BodyError> {
    if let Some(bytes) = response.content_length().filter(|&announced| announced > limit) {
        return Err(BodyError::TooLarge { bytes, limit });
    }
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        body.extend_from_slice(&chunk);
        let bytes = body.len() as u64;
        if bytes > limit {
            return Err(BodyError::TooLarge { bytes, limit });
        }
    }
    Ok(body)
}

/// The first bytes of a body, at most `limit`: for the text of a refusal, whose status says the rest. Where the connection
/// breaks or stalls, what came until then.
pub async fn read_beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < limit {
        let Ok(Some(chunk)) = next_chunk(&mut response).await else { break };
        body.extend(chunk.iter().take(limit.saturating_sub(body.len())));
    }
    body
}

/// How long the server asks to wait, at most [`MAX_RETRY_AFTER`]: seconds, or an HTTP date, which is compared with this
/// machine's clock. `None` without the header, and where it is malformed.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(text, SystemTime::now())
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => MAX_RETRY_AFTER,
        Err(_) => {
            let date: Timestamp = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
            // A date in the past means: at once.
            SystemTime::from(date).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // 1994-11-06T08:49:37Z
        let wait = |text| parse_retry_after(text, now);
        assert_eq!(wait("2"), Some(Duration::from_secs(2)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("1099511627776"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO), "in the past");
        assert_eq!(wait("Fri, 06 Nov 2094 08:49:37 GMT"), Some(MAX_RETRY_AFTER));
        for malformed in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994"] {
            assert_eq!(wait(malformed), None, "{malformed:?}");
        }
    }
}
