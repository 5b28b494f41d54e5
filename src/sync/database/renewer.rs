use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sync_core::RenewalError;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};
use url::Url;

use super::HEAD_TIMEOUT;
use crate::sync::http;
use crate::sync::net::describe;
use crate::sync::scrub::scrub;
use crate::sync::token::{Token, TokenCell};

/// The longest time for a renewal. One that rebuilds the snapshot takes longest.
pub const RENEWAL_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer, in bytes: a token and two URLs.
const MAX_ANSWER: u64 = 64 << 10;

/// Requests new secrets from the session's endpoint, one request at a time.
pub struct Renewer {
    http: Client,
    session_url: Url,
    token: TokenCell,
    project_id: String,
    session_id: String,
    /// Locked during a request.
    progress: Mutex<Progress>,
}

/// What earlier requests say about the next one.
#[derive(Debug, Default)]
enum Progress {
    #[default]
    Open,
    /// The endpoint asked not to be called before this time.
    NotBefore(Instant),
    /// The endpoint refused for good, for this reason.
    Ended(String),
}

/// Which snapshot a new URL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotUrl {
    /// The newest snapshot that exists.
    Newest,
    /// A snapshot built anew under a new id: the newest one is damaged.
    Rebuilt,
}

/// What a renewal brought.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The token that is in use now, where the answer had one or another caller's renewal has just brought it.
    pub token: Option<Arc<Token>>,
    /// The signed URL of the snapshot, where it was requested.
    pub snapshot_url: Option<SecretString>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Token,
    Snapshot(SnapshotUrl),
}

#[derive(Serialize)]
struct RequestBody<'a> {
    session_id: &'a str,
    project_id: &'a str,
    want: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<bool>,
}

#[derive(Default, Deserialize)]
struct AnswerBody {
    realtime_token: Option<SecretString>,
    snapshot_url: Option<SecretString>,
}

impl Renewer {
    /// For the endpoint at `session_url`. `http` must not follow redirects (`Net::api_client`).
    pub fn new(http: Client, session_url: Url, token: TokenCell, project_id: String, session_id: String) -> Renewer {
        Renewer { http, session_url, token, project_id, session_id, progress: Mutex::default() }
    }

    /// Requests a new token, which the [`TokenCell`] then holds. A second caller waits for the first and gets its token.
    ///
    /// # Errors
    /// [`RenewalError::Final`] after 401, 403 and 410, and for each later call, which makes no request. Any other failure
    /// may be tried again. No message contains a secret.
    pub async fn renew_token(&self) -> Result<Renewed, RenewalError> {
        let before = self.token.current();
        let mut progress = self.begin().await?;
        let token = self.token.current();
        if !Arc::ptr_eq(&before, &token) {
            return Ok(Renewed { token: Some(token), snapshot_url: None });
        }
        let answer = self.request(&mut progress, Wanted::Token, &token).await?;
        match self.accept_token(answer.realtime_token)? {
            Some(token) => Ok(Renewed { token: Some(token), snapshot_url: None }),
            None => Err(retry("the answer has no realtime_token")),
        }
    }

    /// Requests a new signed URL of the snapshot. A token that comes with it is used as well.
    ///
    /// # Errors
    /// As [`Renewer::renew_token`].
    pub async fn renew_snapshot(&self, snapshot: SnapshotUrl) -> Result<Renewed, RenewalError> {
        let mut progress = self.begin().await?;
        let token = self.token.current();
        let answer = self.request(&mut progress, Wanted::Snapshot(snapshot), &token).await?;
        // First, whatever is wrong with the URL: the old token may not be valid any more.
        let token = self.accept_token(answer.realtime_token)?;
        let url = answer.snapshot_url.ok_or_else(|| retry("the answer has no snapshot_url"))?;
        let parsed = Url::parse(url.expose_secret());
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(retry("the snapshot_url is not an http:// or https:// URL"));
        }
        Ok(Renewed { token, snapshot_url: Some(url) })
    }

    /// Waits for a running request, and checks that another one is allowed.
    async fn begin(&self) -> Result<MutexGuard<'_, Progress>, RenewalError> {
        let progress = self.progress.lock().await;
        match &*progress {
            Progress::Ended(reason) => Err(RenewalError::Final(reason.clone())),
            Progress::NotBefore(at) if Instant::now() < *at => {
                let wait = at.duration_since(Instant::now()).as_secs().saturating_add(1);
                Err(retry(&format!("the endpoint asked to wait {wait} s more")))
            }
            Progress::Open | Progress::NotBefore(_) => Ok(progress),
        }
    }

    async fn request(
        &self,
        progress: &mut Progress,
        wanted: Wanted,
        token: &Token,
    ) -> Result<AnswerBody, RenewalError> {
        *progress = Progress::Open;
        let (want, rebuild) = match wanted {
            Wanted::Token => ("token", None),
            Wanted::Snapshot(SnapshotUrl::Newest) => ("snapshot", None),
            Wanted::Snapshot(SnapshotUrl::Rebuilt) => ("snapshot", Some(true)),
        };
        let (session_id, project_id) = (&*self.session_id, &*self.project_id);
        let body = RequestBody { session_id, project_id, want: [want], rebuild };
        let answer = timeout(RENEWAL_TIMEOUT, self.post(progress, &body, token)).await;
        answer.unwrap_or_else(|_| Err(retry(&format!("no complete answer within {} s", RENEWAL_TIMEOUT.as_secs()))))
    }

    async fn post(
        &self,
        progress: &mut Progress,
        body: &RequestBody<'_>,
        token: &Token,
    ) -> Result<AnswerBody, RenewalError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
            RenewalError::Final("renewal: the token contains a character that an HTTP header cannot contain".into())
        })?;
        bearer.set_sensitive(true);
        let request = self.http.post(self.session_url.clone()).header(AUTHORIZATION, bearer).json(body);
        let response = match timeout(HEAD_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(retry(&describe(error))),
            Err(_) => return Err(retry(&format!("no answer within {} s", HEAD_TIMEOUT.as_secs()))),
        };
        let (status, retry_after) = (response.status(), http::retry_after(response.headers()));
        let answer = http::read_whole(response, MAX_ANSWER).await;
        if !status.is_success() {
            let message = scrub(&String::from_utf8_lossy(&answer.unwrap_or_default()), &[token.secret().clone()]);
            let reason = format!("renewal: HTTP {}: {message}", status.as_u16());
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::GONE) {
                *progress = Progress::Ended(reason.clone());
                return Err(RenewalError::Final(reason));
            }
            if let Some(wait) = retry_after {
                *progress = Instant::now().checked_add(wait).map_or(Progress::Open, Progress::NotBefore);
            }
            return Err(RenewalError::Retry(reason));
        }
        let answer = answer.map_err(|error| retry(&error.to_string()))?;
        // The parser's message could repeat parts of the answer, which has secrets.
        serde_json::from_slice(&answer).map_err(|_| retry("the answer is not the expected JSON object"))
    }

    /// Uses the token of an answer from now on.
    fn accept_token(&self, text: Option<SecretString>) -> Result<Option<Arc<Token>>, RenewalError> {
        let Some(text) = text else { return Ok(None) };
        let token = Token::parse(text.expose_secret(), &self.project_id)
            .map_err(|error| retry(&format!("the new token is refused: {error}")))?;
        self.token.replace(token);
        Ok(Some(self.token.current()))
    }
}

fn retry(reason: &str) -> RenewalError {
    RenewalError::Retry(format!("renewal: {reason}"))
}

impl fmt::Debug for Renewer {
    /// Without the URL, which may have a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewer").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}
