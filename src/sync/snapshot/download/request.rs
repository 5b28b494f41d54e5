//! One request for the snapshot, and what its status means.

use std::time::Duration;

use reqwest::header::{IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use super::super::SnapshotError;
use super::resource::Resource;
use crate::sync::http;
use crate::sync::net::describe;
use crate::sync::scrub::scrub;

/// The most that is read of the body of a refusal, in bytes. Storage explains there why it refuses.
const MAX_REFUSAL: usize = 4096;
/// Parts of the URL that are at least this long are removed from what a server says, in bytes. Shorter ones are no secrets,
/// and removing them would make the text unreadable.
const MIN_SECRET: usize = 8;

/// Why a request failed.
pub(super) enum Failure {
    /// A later request may succeed, after this pause where the server asked for one.
    Temporary { reason: String, retry_after: Option<Duration> },
    /// No later request will.
    Permanent(SnapshotError),
}

impl Failure {
    pub(super) fn temporary(reason: String) -> Failure {
        Failure::Temporary { reason, retry_after: None }
    }
}

/// Where the snapshot is.
pub(super) struct Location<'a> {
    url: Url,
    http: &'a Client,
    /// The longest time without a byte.
    stall: Duration,
    /// The secret parts of the URL.
    secrets: Vec<SecretString>,
}

impl<'a> Location<'a> {
    pub(super) fn new(url: &SecretString, http: &'a Client, stall: Duration) -> Result<Location<'a>, SnapshotError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| SnapshotError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SnapshotError::Url);
        }
        let secrets = secrets_of(&url);
        Ok(Location { url, http, stall, secrets })
    }

    /// Asks for the bytes of `resource` from `offset` on. An answer is 200, 206, or 416 for an offset above 0.
    pub(super) async fn request(&self, offset: u64, resource: &Resource) -> Result<Response, Failure> {
        let mut request = self.http.get(self.url.clone());
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(validator) = &resource.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let response = self.within_stall(request.send()).await?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            // The requested range does not exist: the resource has changed.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::TOO_MANY_REQUESTS => Err(self.refused(response).await),
            _ if status.is_redirection() => Err(Failure::Permanent(SnapshotError::Redirects)),
            _ if status.is_client_error() => {
                let body = self.text(response).await;
                Err(Failure::Permanent(SnapshotError::Renew { status: status.as_u16(), body }))
            }
            _ => Err(self.refused(response).await),
        }
    }

    async fn refused(&self, response: Response) -> Failure {
        let (status, retry_after) = (response.status(), http::retry_after(response.headers()));
        let reason = format!("the server answered {}: {}", status.as_u16(), self.text(response).await);
        Failure::Temporary { reason, retry_after }
    }

    /// The beginning of a body, without the secret parts of the URL.
    async fn text(&self, response: Response) -> String {
        let body = timeout(self.stall, http::read_beginning(response, MAX_REFUSAL)).await.unwrap_or_default();
        scrub(&String::from_utf8_lossy(&body), &self.secrets)
    }

    /// Waits for an answer, or for the next bytes of one, no longer than a connection may stall.
    pub(super) async fn within_stall<T>(&self, answer: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failure> {
        match timeout(self.stall, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_redirect() => Err(Failure::Permanent(SnapshotError::Redirects)),
            Ok(Err(error)) => Err(Failure::temporary(describe(error))),
            Err(_) => Err(Failure::temporary(format!("no data for {} ms", self.stall.as_millis()))),
        }
    }
}

/// Longest first, so that a part is not removed from the middle of a longer one.
fn secrets_of(url: &Url) -> Vec<SecretString> {
    let mut secrets = vec![url.as_str().to_owned(), url.path().to_owned()];
    secrets.extend(url.query().map(str::to_owned));
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    secrets.retain(|secret| secret.len() >= MIN_SECRET);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().map(SecretString::from).collect()
}
