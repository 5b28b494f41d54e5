//! `/functions/v1/`: preview sessions and the snapshot builder, with the answers and codes of the Edge Functions.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::http::postgrest::ApiError;
use crate::http::server::App;
use crate::store::snapshots::{Built, SnapshotError};
use crate::token::{Claims, Keys};

/// The largest body of a request.
const MAX_BODY: usize = 64 << 10;

/// `{code, message, details?}`.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    details: Option<Value>,
}

/// `POST` of `{project_id, another?}` opens a session: 200 and the session. No machine is started here.
pub async fn open(State(app): State<Arc<App>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    let person = person(&headers, &app.keys)?;
    let body = body(&bytes)?;
    let project = project_of(&body)?;
    let another = flag(&body, "another")?;
    Ok(answer(app.sessions.open(&app, &person, project, another).await?))
}

/// `GET …/<id>`.
pub async fn look(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = session_id(&id)?;
    let person = person(&headers, &app.keys)?;
    Ok(answer(app.sessions.look(&app, &person, id).await?))
}

/// `DELETE …/<id>`: over from now on.
pub async fn end(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let id = session_id(&id)?;
    let person = person(&headers, &app.keys)?;
    Ok(answer(app.sessions.end(&app, &person, id).await?))
}

/// `build-project-snapshot`: for the service.
pub async fn build(State(app): State<Arc<App>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    let key = bearer(&headers).or_else(|| headers.get("apikey").and_then(|key| key.to_str().ok()));
    let claims = key.and_then(|key| app.keys.verify_live(key).ok());
    if claims.is_none_or(|claims| claims.role() != "service_role") {
        return Err(Refusal::unauthenticated("the service's own key is needed"));
    }
    let body = body(&bytes)?;
    let project = project_of(&body)?;
    let rebuild = flag(&body, "rebuild")?;
    if project != app.options.project_id {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "PT404", "no such project").into());
    }
    let Built { name, revision, made } = app.snapshot(rebuild).await?;
    let (url, expires_at) = app.signed_snapshot(&name);
    let mut built = json!({
        "object": name, "revision": revision, "snapshot_url": url, "snapshot_expires_at": expires_at,
        "built": made.is_some(),
    });
    if let Some(bytes) = made {
        built["bytes"] = json!(bytes);
    }
    Ok(answer(built))
}

/// 405 of the builder.
pub async fn only_post() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "POST is what this function takes")
}

/// 404 of the sessions.
pub async fn no_such_place() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such place")
}

/// An answer that nobody may keep.
pub fn answer(body: impl Into<Value>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body.into())).into_response()
}

/// The body as an object; an empty body is an empty one.
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
        Ok(_) => Err(Refusal::invalid("the body is no JSON object")),
        Err(_) => Err(Refusal::invalid("the body is no JSON")),
    }
}

/// True, false, or false where it is not said.
pub fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::invalid(&format!("{name} is neither true nor false"))),
    }
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    (!token.is_empty()).then_some(token)
}

/// A signed-in person's claims.
fn person(headers: &HeaderMap, keys: &Keys) -> Result<Claims, Refusal> {
    let token = bearer(headers).ok_or_else(|| Refusal::unauthenticated("no token"))?;
    let claims = keys.verify_live(token).map_err(|error| Refusal::unauthenticated(&error.to_string()))?;
    match claims.role() == "authenticated" && claims.text("sub").is_some() {
        true => Ok(claims),
        false => Err(Refusal::unauthenticated("a signed-in person's token is needed")),
    }
}

fn project_of(body: &Map<String, Value>) -> Result<&str, Refusal> {
    let id = body.get("project_id").and_then(Value::as_str);
    id.filter(|id| is_uuid(id)).ok_or_else(|| Refusal::invalid("project_id is no UUID"))
}

fn session_id(id: &str) -> Result<&str, Refusal> {
    let nowhere = || Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such place");
    Some(id).filter(|id| is_uuid(id)).ok_or_else(nowhere)
}

/// In the one form that the database gives: small letters and hyphens.
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

    /// Asked again later, it may.
    pub fn unavailable(message: &str) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

/// The database's own refusals pass; 42501 is 403 for everybody here.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        match error.code {
            Some(code) if !error.status.is_server_error() => {
                let status = if code == "42501" { StatusCode::FORBIDDEN } else { error.status };
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
        let file = |(path, size): (String, u64)| json!({"file_path": path, "size": size});
        let largest: Vec<Value> = largest.into_iter().map(file).collect();
        let details = json!({"limit": limit, "at_least": bytes, "largest": largest});
        let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "snapshot_too_large", &message);
        Refusal { details: Some(details), ..refusal }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"code": self.code, "message": self.message});
        if let Some(details) = self.details {
            body["details"] = details;
        }
        let mut response = (self.status, answer(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
