use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use sync_core::ReadError;
use tokio::time::timeout;

use super::unavailable;
use crate::sync::net::describe;

/// Between two pieces of an answer.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The next piece of a body; none at its end.
pub(super) async fn chunk(response: &mut Response, what: &str) -> Result<Option<Bytes>, ReadError> {
    match timeout(STALL_TIMEOUT, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(unavailable(format!("{what}: {}", describe(error)))),
        Err(_) => Err(unavailable(format!("{what}: the answer stalled for {} s", STALL_TIMEOUT.as_secs()))),
    }
}

/// The whole body, which must not be larger than `limit` bytes.
pub(super) async fn collect(mut response: Response, limit: u64, what: &str) -> Result<Vec<u8>, ReadError> {
    let too_large =
        |bytes: u64| ReadError::Unusable(format!("{what}: the answer has {bytes} bytes, more than {limit}"));
    if let Some(announced) = response.content_length().filter(|&announced| announced > limit) {
        return Err(too_large(announced));
    }
    let mut body = Vec::new();
    while let Some(chunk) = chunk(&mut response, what).await? {
        let bytes = (body.len() + chunk.len()) as u64;
        if bytes > limit {
            return Err(too_large(bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
