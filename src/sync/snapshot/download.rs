//! Downloads the snapshot: resumed where the server supports it, repeated where it does not.

mod request;
mod resource;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use secrecy::SecretString;
use sync_core::{Backoff, Rng};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zip_stream::{Fault, Rejected};

use super::feed::Piece;
use super::progress::ProgressCounter;
use super::{Limits, SnapshotError};
use request::{Failure, Location};
use resource::Resource;

/// A server that asks for a longer pause is asked again after this: a preview is waiting.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A download with its retries.
pub(super) struct Download<'a> {
    location: Location<'a>,
    limits: &'a Limits,
    progress: Arc<ProgressCounter>,
    deadline: Instant,
    attempts: u32,
    /// Requests in a row that brought no new byte.
    attempts_without_progress: u32,
    /// The most bytes that any extraction received.
    most_received: u64,
    /// Bytes that the running extraction received.
    received: u64,
    resource: Resource,
    backoff: Backoff,
    rng: Rng,
}

/// How a download ended.
pub(super) enum Fetched {
    /// Every byte was passed on.
    Complete { length: Length },
    /// It cannot go on where it broke off: the extraction has to start again.
    StartOver,
    /// The extraction needs no more bytes.
    Unwanted,
}

/// Whether the server announced how long the snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known,
    Unknown,
}

impl<'a> Download<'a> {
    pub fn new(
        url: &SecretString,
        http: &'a Client,
        limits: &'a Limits,
        progress: Arc<ProgressCounter>,
    ) -> Result<Self, SnapshotError> {
        let deadline = Instant::now().checked_add(limits.deadline).ok_or(SnapshotError::Deadline(limits.deadline))?;
        Ok(Download {
            location: Location::new(url, http, limits.stall)?,
            limits,
            progress,
            deadline,
            attempts: 0,
            attempts_without_progress: 0,
            most_received: 0,
            received: 0,
            resource: Resource::default(),
            backoff: Backoff::new(Duration::ZERO, limits.backoff, limits.longest_backoff),
            rng: crate::sync::jitter::generator(),
        })
    }

    /// Requests made so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Passes all bytes to `pieces`, from the first one on.
    pub async fn fetch(&mut self, pieces: mpsc::Sender<Piece>) -> Result<Fetched, SnapshotError> {
        self.received = 0;
        tokio::select! {
            biased;
            fetched = self.fetch_with_retries(&pieces) => fetched,
            () = pieces.closed() => Ok(Fetched::Unwanted),
        }
    }

    async fn fetch_with_retries(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<Fetched, SnapshotError> {
        loop {
            let attempt = timeout_at(self.deadline, self.attempt(pieces)).await;
            match attempt.map_err(|_| SnapshotError::Deadline(self.limits.deadline))? {
                Ok(Fetched::StartOver) => {
                    self.resource = Resource::default();
                    self.pause("the snapshot changed during the download".into(), None).await?;
                    return Ok(Fetched::StartOver);
                }
                Ok(fetched) => return Ok(fetched),
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Temporary { reason, retry_after }) => self.pause(reason, retry_after).await?,
            }
        }
    }

    /// Waits before the next request: a random time, and not less than the server asked for.
    ///
    /// # Errors
    /// Too many requests in a row brought nothing, or the deadline would pass meanwhile.
    pub async fn pause(&mut self, reason: String, retry_after: Option<Duration>) -> Result<(), SnapshotError> {
        if self.received > self.most_received {
            self.most_received = self.received;
            self.attempts_without_progress = 0;
            self.backoff.reset();
        } else {
            self.attempts_without_progress = self.attempts_without_progress.saturating_add(1);
        }
        if self.attempts_without_progress >= self.limits.attempts {
            return Err(SnapshotError::GaveUp { attempts: self.attempts, last: reason });
        }
        let pause = self.backoff.next(&mut self.rng).max(retry_after.unwrap_or_default().min(MAX_PAUSE));
        if Instant::now().checked_add(pause).is_none_or(|next| next >= self.deadline) {
            return Err(SnapshotError::Deadline(self.limits.deadline));
        }
        tracing::warn!(
            event_type = "snapshot_retry",
            attempt = self.attempts,
            bytes = self.received,
            "the snapshot's download failed, next attempt in {} ms: {reason}",
            pause.as_millis()
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn attempt(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<Fetched, Failure> {
        self.attempts = self.attempts.saturating_add(1);
        let response = self.location.request(self.received, &self.resource).await?;
        let found = Resource::of(&response);
        let Some(skip) = self.bytes_to_skip(&response, &found) else { return Ok(Fetched::StartOver) };
        self.check_length(&found)?;
        self.resource.update(found);
        self.forward(response, pieces, skip).await
    }

    /// How many bytes of the answer the extraction has already; `None` where the answer does not continue what was
    /// received.
    fn bytes_to_skip(&self, response: &Response, found: &Resource) -> Option<u64> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT if !self.resource.agrees_with(found) => None,
            StatusCode::PARTIAL_CONTENT => {
                let start = resource::range_start(response.headers());
                (self.received > 0 && start == Some(self.received)).then_some(0)
            }
            // The same bytes from the beginning: they need not be extracted again. Should they differ after all, the
            // archive's checksums show it.
            StatusCode::OK if *found == self.resource && found.is_identified() => Some(self.received),
            StatusCode::OK if self.received == 0 => Some(0),
            _ => None,
        }
    }

    async fn forward(
        &mut self,
        mut response: Response,
        pieces: &mpsc::Sender<Piece>,
        mut skip: u64,
    ) -> Result<Fetched, Failure> {
        while let Some(mut bytes) = self.location.within_stall(response.chunk()).await? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip = skip.saturating_sub(skipped as u64);
            let bytes = bytes.split_off(skipped);
            if bytes.is_empty() {
                continue;
            }
            self.received = self.received.saturating_add(bytes.len() as u64);
            self.progress.add_bytes(bytes.len());
            if pieces.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(Fetched::Unwanted);
            }
        }
        if let Some(length) = self.resource.length.filter(|length| self.received < *length) {
            return Err(Failure::temporary(format!("it ended after {} of {length} bytes", self.received)));
        }
        // An extraction that failed reports its own error.
        let _ = pieces.send(Piece::End).await;
        let length = if self.resource.length.is_some() { Length::Known } else { Length::Unknown };
        Ok(Fetched::Complete { length })
    }

    fn check_length(&self, found: &Resource) -> Result<(), Failure> {
        let limit = self.limits.archive.compressed;
        match found.length {
            Some(length) if length > limit => {
                let fault = Rejected { fault: Fault::TooLarge(limit), entry: None, offset: 0 };
                Err(Failure::Permanent(SnapshotError::Archive(fault)))
            }
            Some(length) => {
                self.progress.set_total(length);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
