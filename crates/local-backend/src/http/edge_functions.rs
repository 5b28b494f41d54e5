//! `/functions/v1/`: preview sessions and the snapshot builder, with the answers and codes of the Edge Functions.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::postgrest::ApiError;
use super::state::Api;
use crate::code::Code;
use crate::store::preview_sessions::{SessionError, SessionKind};
use crate::store::snapshots::{FileSize, SnapshotError, SnapshotRequest};
use crate::token::{Claims, Keys};

/// Largest body of a request in bytes.
const MAX_BODY: usize = 64 << 10;

/// `{code, message, details?}`.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    details: Option<Value>,
}

/// `POST` of `{project_id, another?}` opens a session and answers with it. No machine is started here.
pub async fn open(State(api): State<Arc<Api>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    let user = user(&headers, &api.keys)?;
    let body = body(&bytes)?;
    let project = project_of(&body)?;
    let kind = if flag(&body, "another")? { SessionKind::Additional } else { SessionKind::Usual };
    let opened = api.sessions.open(&user, project, kind).await;
    Ok(answer(opened.map_err(|error| session_refusal(error, &user))?))
}

/// `GET …/<id>`.
pub async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = session_id(&id)?;
    let user = user(&headers, &api.keys)?;
    let session = api.sessions.get(&user, id).await;
    Ok(answer(session.map_err(|error| session_refusal(error, &user))?))
}

/// `DELETE …/<id>` ends a session.
pub async fn end(State(api): State<Arc<Api>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let id = session_id(&id)?;
    let user = user(&headers, &api.keys)?;
    let ended = api.sessions.end(&user, id).await;
    Ok(answer(ended.map_err(|error| session_refusal(error, &user))?))
}

/// `build-project-snapshot`: only for the service.
pub async fn build(State(api): State<Arc<Api>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    let key = bearer(&headers).or_else(|| headers.get("apikey").and_then(|key| key.to_str().ok()));
    let claims = key.and_then(|key| api.keys.verify_live(key).ok());
    if claims.is_none_or(|claims| claims.role() != "service_role") {
        return Err(Refusal::unauthenticated("the service's key is needed"));
    }
    let body = body(&bytes)?;
    let project = project_of(&body)?;
    let request = snapshot_request(&body)?;
    if project != api.rights.project_id() {
        return Err(ApiError::new(StatusCode::NOT_FOUND, Code::NotFound, "project not found").into());
    }
    let built = api.snapshot(request).await?;
    let signed = api.signed_snapshot(&built.name);
    let mut body = json!({
        "object": built.name, "revision": built.revision, "snapshot_url": signed.url,
        "snapshot_expires_at": signed.expires_at, "built": built.built_bytes.is_some(),
    });
    if let (Some(bytes), Some(fields)) = (built.built_bytes, body.as_object_mut()) {
        fields.insert("bytes".into(), json!(bytes));
    }
    Ok(answer(body))
}

/// 405 of the builder.
pub async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this function accepts only POST")
}

/// 404 of the sessions.
pub async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "not found")
}

/// An answer that may not be cached.
pub fn answer(body: impl Into<Value>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body.into())).into_response()
}

/// The body as an object; an empty body is an empty object.
pub fn body(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if bytes.len() > MAX_BODY {
        let message = format!("the body is larger than {MAX_BODY} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message));
    }
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::invalid("the body is not a JSON object")),
        Err(_) => Err(Refusal::invalid("the body is not JSON")),
    }
}

/// A flag of the body; missing is false.
pub fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::invalid(&format!("{name} is neither true nor false"))),
    }
}

/// Whether the body asks for a new snapshot.
pub fn snapshot_request(body: &Map<String, Value>) -> Result<SnapshotRequest, Refusal> {
    Ok(if flag(body, "rebuild")? { SnapshotRequest::Rebuild } else { SnapshotRequest::Reuse })
}

/// The token of the header `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    (!token.is_empty()).then_some(token)
}

/// The claims of a signed-in user.
fn user(headers: &HeaderMap, keys: &Keys) -> Result<Claims, Refusal> {
    let token = bearer(headers).ok_or_else(|| Refusal::unauthenticated("no token"))?;
    let claims = keys.verify_live(token).map_err(|error| Refusal::unauthenticated(&error.to_string()))?;
    match claims.role() == "authenticated" && claims.text("sub").is_some() {
        true => Ok(claims),
        false => Err(Refusal::unauthenticated("the token of a signed-in user is needed")),
    }
}

fn project_of(body: &Map<String, Value>) -> Result<&str, Refusal> {
    let id = body.get("project_id").and_then(Value::as_str);
    id.filter(|id| is_uuid(id)).ok_or_else(|| Refusal::invalid("project_id is not a UUID"))
}

fn session_id(id: &str) -> Result<&str, Refusal> {
    let not_found = || Refusal::new(StatusCode::NOT_FOUND, "not_found", "not found");
    Some(id).filter(|id| is_uuid(id)).ok_or_else(not_found)
}

/// Whether the text is a UUID in the database's form: lower case with hyphens.
fn is_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|uuid| uuid.to_string() == text)
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: &str) -> Refusal {
        Refusal { status, code: code.into(), message: message.into(), details: None }
    }

    pub fn invalid(message: &str) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub fn unauthenticated(message: &str) -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    /// 503: the same request may succeed later.
    pub fn unavailable(message: &str) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

/// The database's refusals are passed on; 42501 is always 403 here.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        match error.code {
            Some(code) if !error.status.is_server_error() => {
                let status = if code == Code::NoRight.as_str() { StatusCode::FORBIDDEN } else { error.status };
                let details = error.details.and_then(|details| serde_json::from_str::<Map<_, _>>(&details).ok());
                Refusal { status, code, message: error.message, details: details.map(Into::into) }
            }
            _ => Refusal::unavailable(&format!("the database: {}", error.message)),
        }
    }
}

impl From<SnapshotError> for Refusal {
    fn from(error: SnapshotError) -> Refusal {
        let message = error.to_string();
        let SnapshotError::TooLarge { limit, bytes, largest } = error else { return Refusal::unavailable(&message) };
        let file = |file: FileSize| json!({"file_path": file.path, "size": file.size});
        let largest: Vec<Value> = largest.into_iter().map(file).collect();
        let details = json!({"limit": limit, "at_least": bytes, "largest": largest});
        let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "snapshot_too_large", &message);
        Refusal { details: Some(details), ..refusal }
    }
}

/// `None` is a failed thread.
impl From<Option<SnapshotError>> for Refusal {
    fn from(error: Option<SnapshotError>) -> Refusal {
        error.map_or_else(|| Refusal::unavailable("the snapshot was not built"), Refusal::from)
    }
}

/// The refusal of a request about a session, by this user or service.
pub fn session_refusal(error: SessionError, claims: &Claims) -> Refusal {
    match error {
        SessionError::NoRight => ApiError::no_right(claims, "this project").into(),
        SessionError::NotFound => Refusal::new(StatusCode::NOT_FOUND, Code::NotFound.as_str(), "session not found"),
        SessionError::TooMany => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyWrites.as_str(), &error.to_string())
        }
        SessionError::Database(error) => ApiError::from_database(error, claims).into(),
        // The user keeps their right even if the service's is missing.
        error @ SessionError::Service(_) if error.service_has_no_right() => Refusal::unavailable(&error.to_string()),
        SessionError::Service(error) => ApiError::from_database(error, &Claims::service()).into(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = Map::from_iter([("code".into(), json!(self.code)), ("message".into(), json!(self.message))]);
        if let Some(details) = self.details {
            body.insert("details".into(), details);
        }
        let mut response = (self.status, answer(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
