use std::fs::File;
use std::io::{self, Write as _};

use bytes::Bytes;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use sync_core::{ContentHash, ReadError, StageId};
use tokio::task::spawn_blocking;

use super::{MAX_ASSET, body, unavailable};
use crate::sync::workspace::Stage;

/// Bytes held before they are written.
const BUFFER: usize = 256 << 10;

/// Writes the body into a staged file and checks its hash. Whatever goes wrong, nothing stays in the stage.
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
    let failed = |error: io::Error| unavailable(format!("{what}: cannot be staged: {error}"));
    let (id, file) = stage.create().map_err(failed)?;
    let mut staged = Staged { stage, id: Some(id) };
    let mut sink = Sink { file, digest: Sha256::new() };
    let (mut waiting, mut held, mut bytes) = (Vec::new(), 0, 0);
    while let Some(chunk) = body::chunk(&mut response, what).await? {
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(too_large());
        }
        held += chunk.len();
        waiting.push(chunk);
        if held >= BUFFER {
            sink = sink.take(std::mem::take(&mut waiting)).await.map_err(failed)?;
            held = 0;
        }
    }
    let sink = sink.take(waiting).await.map_err(failed)?;
    let got = ContentHash::from_bytes(sink.digest.finalize().into());
    if got != hash {
        return Err(ReadError::WrongHash { got });
    }
    staged.id = None;
    Ok(id)
}

/// A staged file that goes again unless it is whole, also when the download is dropped halfway.
struct Staged<'a> {
    stage: &'a Stage,
    id: Option<StageId>,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.stage.discard(id);
        }
    }
}

struct Sink {
    file: File,
    digest: Sha256,
}

impl Sink {
    /// Hashing and writing keep no socket waiting: they happen on another thread.
    async fn take(mut self, chunks: Vec<Bytes>) -> io::Result<Sink> {
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
