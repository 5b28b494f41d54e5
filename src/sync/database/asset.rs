use std::fs::File;
use std::io::{self, Write as _};

use bytes::Bytes;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use sync_core::{ContentHash, ReadError, StageId};
use tokio::task::spawn_blocking;

use super::{MAX_ASSET, body_error, unavailable};
use crate::sync::http;
use crate::sync::workspace::Stage;

/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// Writes the body into a staged file and checks its hash. After an error nothing stays in the stage.
pub(super) async fn download(
    mut response: Response,
    stage: &Stage,
    hash: ContentHash,
    size: Option<u64>,
    what: &str,
) -> Result<StageId, ReadError> {
    let limit = size.unwrap_or(MAX_ASSET).min(MAX_ASSET);
    let too_large = || ReadError::Unusable(format!("{what}: larger than {limit} bytes"));
    if size.is_some_and(|size| size > MAX_ASSET) || response.content_length().is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let failed = |error: io::Error| unavailable(format!("{what}: cannot write it to the stage: {error}"));
    let (id, file) = stage.create().map_err(failed)?;
    let mut staged = DiscardOnDrop { stage, id: Some(id) };
    let mut sink = HashingFile { file, digest: Sha256::new() };
    let (mut waiting, mut held, mut bytes) = (Vec::new(), 0_usize, 0_u64);
    while let Some(chunk) = http::next_chunk(&mut response).await.map_err(|error| body_error(what, error))? {
        bytes = bytes.saturating_add(chunk.len() as u64);
        if bytes > limit {
            return Err(too_large());
        }
        held = held.saturating_add(chunk.len());
        waiting.push(chunk);
        if held >= BUFFER {
            sink = sink.write(std::mem::take(&mut waiting)).await.map_err(failed)?;
            held = 0;
        }
    }
    let sink = sink.write(waiting).await.map_err(failed)?;
    let got = ContentHash::from_bytes(sink.digest.finalize().into());
    if got != hash {
        return Err(ReadError::WrongHash { got });
    }
    staged.id = None;
    Ok(id)
}

/// Removes a staged file unless it is complete, also when the download is dropped.
struct DiscardOnDrop<'a> {
    stage: &'a Stage,
    id: Option<StageId>,
}

impl Drop for DiscardOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.stage.discard(id);
        }
    }
}

struct HashingFile {
    file: File,
    digest: Sha256,
}

impl HashingFile {
    /// Hashes and writes on another thread, so that sockets are not kept waiting.
    async fn write(mut self, chunks: Vec<Bytes>) -> io::Result<HashingFile> {
        let written = spawn_blocking(move || {
            for chunk in chunks {
                self.digest.update(&chunk);
                self.file.write_all(&chunk)?;
            }
            Ok(self)
        });
        written.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }
}
