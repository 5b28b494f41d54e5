//! The read functions, downloads of binary files, and session renewal.

mod asset;
mod body;
mod error_response;

mod renewer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sync_core::{Answer, ContentHash, Read, ReadError};
use tokio::time::timeout;
use url::Url;

pub use body::STALL_TIMEOUT;
pub use renewer::{Renewed, Renewer, Want};

use crate::sync::net::describe;
use crate::sync::token::{Token, TokenCell};
use crate::sync::workspace::Stage;

/// Until the head of an answer is there: connecting, sending, and the function's own time.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A whole answer of a function; one that moves all the time may take this long.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A whole object of storage.
pub const ASSET_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest answer of a function, in bytes: 100,000 paths of a reset, or one large file as escaped JSON.
pub const MAX_ANSWER: u64 = 64 << 20;
/// The largest object of storage, in bytes. Supabase takes 50 MB unless a project asks for more.
pub const MAX_ASSET: u64 = 256 << 20;
/// Rows that one page of `list_current_files` asks for: PostgREST gives no more unless told otherwise.
pub const PAGE_ROWS: u32 = 1000;

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
    /// For the Supabase at `base_url`. `http` must follow no redirect (`Net::api_client`): each request carries the
    /// token.
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

    /// Asks once, within [`ANSWER_TIMEOUT`] or [`ASSET_TIMEOUT`]. Dropped halfway it leaves nothing in the stage.
    ///
    /// # Errors
    /// Each reason that the core treats in its own way is a variant; no secret stands in any.
    pub async fn read(&self, read: Read) -> Result<Answer, ReadError> {
        let token = self.token.current();
        if let Read::Asset { hash, size } = read {
            return self.asset(hash, size, &token).await.map(Answer::Staged);
        }
        let (function, filters, arguments) = self.call(read);
        let url = self.url(&["rest", "v1", "rpc", function], &filters);
        let request = self.http.post(url).json(&arguments);
        let answer = async {
            let response = self.send(request, function, &token).await?;
            body::collect(response, MAX_ANSWER, function).await
        };
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer.map(|bytes| Answer::Json(Bytes::from(bytes))),
            Err(_) => Err(unavailable(format!("{function}: no whole answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        }
    }

    /// The function, the filters of its rows, and its arguments. PostgREST takes every query parameter of a POST for
    /// a filter, and what stands after `eq.` or `gt.` as it is, to the end: nothing there is quoted.
    fn call(&self, read: Read) -> (&'static str, Vec<(&'static str, String)>, Value) {
        let project = &self.project_id;
        match read {
            Read::Changes { since, max_rows, with_content } => (
                "list_project_changes",
                Vec::new(),
                json!({
                    "project_uuid": project, "since_revision": since, "max_rows": max_rows,
                    "with_content": with_content,
                }),
            ),
            Read::File { path, version } => (
                "get_project_file",
                Vec::new(),
                json!({"project_uuid": project, "p_file_path": path, "p_version": version}),
            ),
            Read::CurrentFiles { after } => {
                let mut filters = vec![
                    ("select", "file_path,file_type,content_hash,version,updated_at".to_owned()),
                    ("order", "file_path".to_owned()),
                    ("limit", PAGE_ROWS.to_string()),
                ];
                if !after.is_empty() {
                    filters.push(("file_path", format!("gt.{after}")));
                }
                ("list_current_files", filters, json!({ "project_uuid": project }))
            }
            Read::CurrentFile { path } => {
                let filters = vec![
                    ("select", "file_path,file_type,content,content_hash,version,updated_at".to_owned()),
                    ("file_path", format!("eq.{path}")),
                    ("limit", "1".to_owned()),
                ];
                ("list_current_files", filters, json!({ "project_uuid": project }))
            }
            // An asset is no function; it was taken care of before.
            Read::Head | Read::Asset { .. } => ("project_head", Vec::new(), json!({ "project_uuid": project })),
        }
    }

    async fn asset(
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
            Err(_) => Err(unavailable(format!("{what}: not whole within {} s", ASSET_TIMEOUT.as_secs()))),
        }
    }

    /// A successful answer's head; every other answer is an error.
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
        Err(error_response::read(response).await.into_error(what, &secrets))
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

fn unavailable(error: String) -> ReadError {
    ReadError::Unavailable { error, retry_after: None }
}
