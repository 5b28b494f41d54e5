//! The requests for a snapshot: resumed where the server can, repeated where it cannot.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;
use zip_stream::{Fault, Rejected};

use super::feed::Piece;
use super::progress::ProgressCounter;
use super::{Limits, SnapshotError};

/// What is kept of an answer's body, in characters: storage says there why it refuses.
const SHOWN_BODY: usize = 500;
/// What is read of it, in bytes.
const READ_BODY: usize = 4096;
/// A server that asks for more patience than this is asked again anyway.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A snapshot on its way.
pub(super) struct Download<'a> {
    url: Url,
    http: &'a Client,
    limits: &'a Limits,
    meter: Arc<ProgressCounter>,
    deadline: Instant,
    attempts: u32,
    /// Requests since one brought something new.
    attempts_without_progress: u32,
    /// The most bytes that ever arrived.
    best: u64,
    /// Bytes that the extraction was given.
    received: u64,
    known: Known,
    retry_after: Option<Duration>,
}

/// What is known of the resource.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    length: Option<u64>,
    /// A strong ETag, else a date: what makes a range a part of the same bytes.
    validator: Option<String>,
}

impl Known {
    /// Nothing that both know differs.
    fn agrees(&self, other: &Known) -> bool {
        fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        agree(&self.length, &other.length) && agree(&self.validator, &other.validator)
    }
}

/// How a download ended well.
pub(super) enum Fetched {
    /// Every byte was handed on.
    Whole { length_known: bool },
    /// It cannot go on where it broke off: the extraction begins anew.
    StartOver,
    /// The extraction wants no more.
    Unwanted,
}

enum Failure {
    /// May be otherwise the next time.
    Passing(String),
    Final(SnapshotError),
}

impl<'a> Download<'a> {
    pub fn new(
        url: &SecretString,
        http: &'a Client,
        limits: &'a Limits,
        meter: Arc<ProgressCounter>,
    ) -> Result<Self, SnapshotError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| SnapshotError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SnapshotError::Url);
        }
        Ok(Download {
            url,
            http,
            limits,
            meter,
            deadline: Instant::now() + limits.deadline,
            attempts: 0,
            attempts_without_progress: 0,
            best: 0,
            received: 0,
            known: Known::default(),
            retry_after: None,
        })
    }

    /// Requests made so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Hands all bytes to `pieces`, from the first one on.
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
                    self.known = Known::default();
                    self.pause("the snapshot changed while it was downloaded".into()).await?;
                    return Ok(Fetched::StartOver);
                }
                Ok(fetched) => return Ok(fetched),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) => self.pause(reason).await?,
            }
        }
    }

    /// Waits before the next request, with full jitter, or gives up.
    pub async fn pause(&mut self, last: String) -> Result<(), SnapshotError> {
        if self.received > self.best {
            self.best = self.received;
            self.attempts_without_progress = 0;
        } else {
            self.attempts_without_progress += 1;
        }
        if self.attempts_without_progress >= self.limits.attempts {
            return Err(SnapshotError::GaveUp { attempts: self.attempts, last });
        }
        let doubled = self.limits.backoff.saturating_mul(1 << self.attempts_without_progress.min(16));
        let most = doubled.min(self.limits.longest_backoff);
        let pause = most.mul_f64(chance()).max(self.retry_after.take().unwrap_or_default());
        if Instant::now() + pause >= self.deadline {
            return Err(SnapshotError::Deadline(self.limits.deadline));
        }
        tracing::warn!(
            event_type = "snapshot_retry",
            attempt = self.attempts,
            bytes = self.received,
            "the snapshot's download is tried again in {} ms: {last}",
            pause.as_millis()
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn attempt(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<Fetched, Failure> {
        self.attempts += 1;
        let response = self.request().await?;
        let found = Known { length: length(&response), validator: validator(response.headers()) };
        if response.status() == StatusCode::PARTIAL_CONTENT && !self.known.agrees(&found) {
            return Ok(Fetched::StartOver);
        }
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT
                if self.received > 0 && starts_at(response.headers()) == Some(self.received) =>
            {
                0
            }
            // The same bytes from the beginning: no need to extract them again. Should they differ after all, then
            // the archive's checksums tell.
            StatusCode::OK if found == self.known && (found.validator.is_some() || found.length.is_some()) => {
                self.received
            }
            StatusCode::OK if self.received == 0 => 0,
            _ => return Ok(Fetched::StartOver),
        };
        self.check_length(&found)?;
        self.known = Known {
            length: found.length.or(self.known.length),
            validator: found.validator.or(self.known.validator.take()),
        };
        self.pass_on(response, pieces, skip).await
    }

    async fn pass_on(
        &mut self,
        mut response: Response,
        pieces: &mpsc::Sender<Piece>,
        mut skip: u64,
    ) -> Result<Fetched, Failure> {
        loop {
            let mut bytes = match self.waited(response.chunk()).await? {
                Some(bytes) => bytes,
                None => break,
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= skipped as u64;
            let bytes = bytes.split_off(skipped);
            if bytes.is_empty() {
                continue;
            }
            self.received += bytes.len() as u64;
            self.meter.add_bytes(bytes.len());
            if pieces.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(Fetched::Unwanted);
            }
        }
        if let Some(length) = self.known.length.filter(|length| self.received < *length) {
            return Err(Failure::Passing(format!("it ended after {} of {length} bytes", self.received)));
        }
        // An extraction that failed says so itself.
        let _ = pieces.send(Piece::End).await;
        Ok(Fetched::Whole { length_known: self.known.length.is_some() })
    }

    /// An answer with content.
    async fn request(&mut self) -> Result<Response, Failure> {
        let mut request = self.http.get(self.url.clone());
        if self.received > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.received));
            if let Some(validator) = &self.known.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let response = self.waited(request.send()).await?;
        let status = response.status();
        self.retry_after = seconds(response.headers());
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            // What the range asks for is not there: the bytes are other ones by now.
            StatusCode::RANGE_NOT_SATISFIABLE if self.received > 0 => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::TOO_MANY_REQUESTS => Err(self.refused(response).await),
            _ if status.is_redirection() => Err(Failure::Final(SnapshotError::Redirects)),
            _ if status.is_client_error() => {
                let body = self.body(response).await;
                Err(Failure::Final(SnapshotError::Renew { status: status.as_u16(), body }))
            }
            _ => Err(self.refused(response).await),
        }
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        Failure::Passing(format!("the server answered {}: {}", status.as_u16(), self.body(response).await))
    }

    /// The beginning of a body, without what is secret of the URL should the server repeat it.
    async fn body(&self, mut response: Response) -> String {
        let mut body = Vec::new();
        while body.len() < READ_BODY {
            match self.waited(response.chunk()).await {
                Ok(Some(bytes)) => body.extend(&bytes[..bytes.len().min(READ_BODY - body.len())]),
                Ok(None) | Err(_) => break,
            }
        }
        let mut text = String::from_utf8_lossy(&body).into_owned();
        let values = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let secrets = [self.url.as_str().to_owned(), self.url.path().to_owned()];
        for secret in secrets.into_iter().chain(self.url.query().map(str::to_owned)).chain(values) {
            if secret.len() >= 8 {
                text = text.replace(&secret, "[hidden]");
            }
        }
        text.trim().chars().take(SHOWN_BODY).collect()
    }

    /// An answer of the network, which must come before the connection counts as stalled.
    async fn waited<T>(&self, answer: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failure> {
        match timeout(self.limits.stall, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_redirect() => Err(Failure::Final(SnapshotError::Redirects)),
            Ok(Err(error)) => Err(Failure::Passing(sync_core::error_chain(&error.without_url()))),
            Err(_) => Err(Failure::Passing(format!("nothing came for {} ms", self.limits.stall.as_millis()))),
        }
    }

    fn check_length(&self, found: &Known) -> Result<(), Failure> {
        let limit = self.limits.archive.compressed;
        match found.length {
            Some(length) if length > limit => {
                let fault = Rejected { fault: Fault::TooLarge(limit), entry: None, offset: 0 };
                Err(Failure::Final(SnapshotError::Archive(fault)))
            }
            Some(length) => {
                self.meter.set_total(length);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Of the whole resource.
fn length(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => content_range(response.headers())?.rsplit_once('/')?.1.parse().ok(),
        _ => response.content_length(),
    }
}

/// The first byte of a part.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn content_range(headers: &HeaderMap) -> Option<&str> {
    text(headers, &CONTENT_RANGE)
}

fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, &ETAG).filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| text(headers, &LAST_MODIFIED)).map(str::to_owned)
}

fn seconds(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, &RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Between 0 and 1. Not for secrets: it only keeps many agents from asking at once.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}
