use std::fmt;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sync_core::{NewToken, ReadError, RenewalError};
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::{HEAD_TIMEOUT, body};
use crate::sync::net::describe;
use crate::sync::scrub::scrub;
use crate::sync::token::{Token, TokenCell};

/// A whole renewal. One with `rebuild` makes a snapshot first.
pub const RENEWAL_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer, in bytes: a token and two URLs.
const MAX_ANSWER: u64 = 64 << 10;

/// Asks the session's endpoint for new secrets, one request at a time.
pub struct Renewer {
    http: Client,
    session_url: Url,
    token: TokenCell,
    project_id: String,
    session_id: String,
    /// Held while asking; what it holds is why asking again is of no use.
    ended: Mutex<Option<String>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// A new token, which the [`TokenCell`] then holds.
    Token,
    /// A new signed URL of a snapshot.
    Snapshot,
}

/// What a renewal brought: all that was wanted.
#[derive(Debug, Default)]
pub struct Renewed {
    /// A new token is in use, with this `exp - iat`.
    pub token: Option<NewToken>,
    /// Where the snapshot lies.
    pub snapshot_url: Option<SecretString>,
}

#[derive(Serialize)]
struct Wish<'a> {
    session_id: &'a str,
    project_id: &'a str,
    want: &'a [Want],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rebuild: bool,
}

#[derive(Deserialize)]
struct Granted {
    realtime_token: Option<SecretString>,
    snapshot_url: Option<SecretString>,
}

impl Renewer {
    /// For the endpoint at `session_url`. `http` must follow no redirect (`Net::api_client`).
    pub fn new(http: Client, session_url: Url, token: TokenCell, project_id: String, session_id: String) -> Renewer {
        Renewer { http, session_url, token, project_id, session_id, ended: Mutex::default() }
    }

    /// Asks for `want`; `rebuild` for a snapshot made anew. A second caller waits for the first; a token that came
    /// meanwhile is not asked for again. Once refused for good, every later call is, without asking.
    ///
    /// # Errors
    /// Final after 401, 403 and 410; anything else may be tried again. No secret stands in either.
    pub async fn renew(&self, want: &[Want], rebuild: bool) -> Result<Renewed, RenewalError> {
        let before = self.token.current();
        let mut ended = self.ended.lock().await;
        if let Some(why) = &*ended {
            return Err(RenewalError::Final(why.clone()));
        }
        let token = self.token.current();
        let mut renewed = Renewed::default();
        let mut want = want.to_vec();
        if want.contains(&Want::Token) && !std::sync::Arc::ptr_eq(&before, &token) {
            renewed.token = Some(NewToken { lifetime: token.lifetime() });
            want.retain(|&want| want != Want::Token);
        }
        if want.is_empty() {
            return Ok(renewed);
        }
        let asked = timeout(RENEWAL_TIMEOUT, self.ask(&want, rebuild, &token)).await;
        match asked.unwrap_or_else(|_| retry(format!("no whole answer within {} s", RENEWAL_TIMEOUT.as_secs()))) {
            Ok(granted) => self.accept(&want, granted, renewed),
            Err(error) => {
                if let RenewalError::Final(why) = &error {
                    *ended = Some(why.clone());
                }
                Err(error)
            }
        }
    }

    async fn ask(&self, want: &[Want], rebuild: bool, token: &Token) -> Result<Granted, RenewalError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| RenewalError::Final("the token holds a character that no HTTP header may hold".into()))?;
        bearer.set_sensitive(true);
        let wish = Wish { session_id: &self.session_id, project_id: &self.project_id, want, rebuild };
        let request = self.http.post(self.session_url.clone()).header(AUTHORIZATION, bearer).json(&wish);
        let response = match timeout(HEAD_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return retry(describe(error)),
            Err(_) => return retry(format!("no answer within {} s", HEAD_TIMEOUT.as_secs())),
        };
        let status = response.status();
        let answer = body::collect(response, MAX_ANSWER, "the answer").await;
        if !status.is_success() {
            let told = scrub(&String::from_utf8_lossy(&answer.unwrap_or_default()), &[token.secret().clone()]);
            let why = format!("renewal: HTTP {}: {told}", status.as_u16());
            let end = matches!(status.as_u16(), 401 | 403 | 410);
            return Err(if end { RenewalError::Final(why) } else { RenewalError::Retry(why) });
        }
        let answer = answer.or_else(|error| match error {
            ReadError::Unavailable { error, .. } | ReadError::Unusable(error) => retry(error),
            error => retry(format!("{error:?}")),
        })?;
        // The parser's own words could quote the answer, which is full of secrets.
        serde_json::from_slice(&answer).or_else(|_| retry("the answer is not the JSON object expected".into()))
    }

    /// The token is kept whatever is wrong with the rest of the answer: the old one may be worth nothing by now.
    fn accept(&self, want: &[Want], granted: Granted, mut renewed: Renewed) -> Result<Renewed, RenewalError> {
        // One that came along unasked is as good as one asked for.
        match granted.realtime_token {
            Some(text) => {
                let token = Token::parse(text.expose_secret(), &self.project_id)
                    .or_else(|error| retry(format!("the new token is refused: {error}")))?;
                renewed.token = Some(NewToken { lifetime: token.lifetime() });
                self.token.replace(token);
            }
            None if want.contains(&Want::Token) => return retry("the answer holds no realtime_token".into()),
            None => {}
        }
        if want.contains(&Want::Snapshot) {
            let Some(url) = granted.snapshot_url else { return retry("the answer holds no snapshot_url".into()) };
            let parsed = Url::parse(url.expose_secret());
            if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
                return retry("the snapshot_url is not an http:// or https:// URL".into());
            }
            renewed.snapshot_url = Some(url);
        }
        Ok(renewed)
    }
}

fn retry<T>(why: String) -> Result<T, RenewalError> {
    Err(RenewalError::Retry(if why.starts_with("renewal: ") { why } else { format!("renewal: {why}") }))
}

impl fmt::Debug for Renewer {
    /// Without the URL, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewer").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}
