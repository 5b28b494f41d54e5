//! The database's read functions, downloads of binary files, and session renewal.

mod asset;
mod error_response;
mod renewer;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sync_core::{Answer, ContentHash, Read, ReadError};
use tokio::time::timeout;
use url::Url;

pub use renewer::{Renewed, Renewer, SnapshotUrl};

use crate::sync::files::MAX_FILE;
use crate::sync::http::{self, BodyError};
use crate::sync::net::describe;
use crate::sync::token::{Token, TokenCell};
use crate::sync::workspace::Stage;
use error_response::ErrorResponse;
use request::{FunctionCall, Request};

/// The longest time until the head of an answer: connecting, sending, and the function's own time.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for a whole answer of a function.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest time for a whole object of storage.
pub const ASSET_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest answer of a function, in bytes: 100,000 paths of a reset, or one large file as escaped JSON.
pub const MAX_ANSWER: u64 = 64 << 20;
/// The largest object of storage, in bytes.
pub const MAX_ASSET: u64 = MAX_FILE;

/// Reads one project with the session's token.
#[derive(Debug)]
pub struct Database {
    http: Client,
    base_url: Url,
    anon_key: SecretString,
    token: TokenCell,
    project_id: String,
    stage: Arc<Stage>,
}

impl Database {
    /// For the Supabase project at `base_url`. `http` must not follow redirects (`Net::api_client`): each request carries
    /// the token.
    pub fn new(
        http: Client,
        base_url: Url,
        anon_key: SecretString,
        token: TokenCell,
        project_id: String,
        stage: Arc<Stage>,
    ) -> Database {
        Database { http, base_url, anon_key, token, project_id, stage }
    }

    /// Makes one request, within [`ANSWER_TIMEOUT`] or [`ASSET_TIMEOUT`]. A dropped future leaves nothing in the stage.
    ///
    /// # Errors
    /// One variant for each reason that the core handles differently. No message contains a secret.
    pub async fn read(&self, read: Read) -> Result<Answer, ReadError> {
        let token = self.token.current();
        match Request::new(read, &self.project_id) {
            Request::Object { hash, size } => self.object(hash, size, &token).await.map(Answer::Staged),
            Request::Function(call) => {
                let name = call.name;
                let answer = timeout(ANSWER_TIMEOUT, self.function(call, &token)).await;
                answer.unwrap_or_else(|_| {
                    Err(unavailable(format!("{name}: no complete answer within {} s", ANSWER_TIMEOUT.as_secs())))
                })
            }
        }
    }

    async fn function(&self, call: FunctionCall, token: &Token) -> Result<Answer, ReadError> {
        let url = self.url(&["rest", "v1", "rpc", call.name], &call.filters);
        let response = self.send(self.http.post(url).json(&call.arguments), call.name, token).await?;
        let body = http::read_whole(response, MAX_ANSWER).await;
        body.map(|bytes| Answer::Json(Bytes::from(bytes))).map_err(|error| body_error(call.name, error))
    }

    async fn object(
        &self,
        hash: ContentHash,
        size: Option<u64>,
        token: &Token,
    ) -> Result<sync_core::StageId, ReadError> {
        let what = format!("object {hash}");
        let name = hash.to_string();
        let place = ["storage", "v1", "object", "authenticated", "project-assets", &self.project_id, &name];
        let request = self.http.get(self.url(&place, &[]));
        let download = async {
            let response = self.send(request, &what, token).await?;
            asset::download(response, &self.stage, hash, size, &what).await
        };
        match timeout(ASSET_TIMEOUT, download).await {
            Ok(staged) => staged,
            Err(_) => Err(unavailable(format!("{what}: not complete within {} s", ASSET_TIMEOUT.as_secs()))),
        }
    }

    /// Sends a request for `what`. An answer whose status is not a success is an error.
    async fn send(&self, request: RequestBuilder, what: &str, token: &Token) -> Result<Response, ReadError> {
        let request = request
            .header("apikey", sensitive(self.anon_key.expose_secret())?)
            .header(AUTHORIZATION, sensitive(&format!("Bearer {}", token.expose()))?);
        let response = match timeout(HEAD_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unavailable(format!("{what}: {}", describe(error)))),
            Err(_) => return Err(unavailable(format!("{what}: no answer within {} s", HEAD_TIMEOUT.as_secs()))),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let secrets = [self.anon_key.clone(), token.secret().clone()];
        Err(ErrorResponse::read(response).await.into_error(what, &secrets))
    }

    fn url(&self, place: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base_url.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(place);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, ReadError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| ReadError::Forbidden("a key or token holds a character that no HTTP header may hold".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error for a body of `what` that could not be read.
fn body_error(what: &str, error: BodyError) -> ReadError {
    let text = format!("{what}: {error}");
    match error {
        BodyError::TooLarge { .. } => ReadError::Unusable(text),
        BodyError::Connection(_) | BodyError::Stalled(_) => unavailable(text),
    }
}

fn unavailable(error: String) -> ReadError {
    ReadError::Unavailable { error, retry_after: None }
}
