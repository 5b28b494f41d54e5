//! `/storage/v1/`: binary files of the project, and snapshots by signed URL. Storage answers 400 for most refusals and
//! puts the real status into the body.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::http::download::{self, Download};
use crate::http::multipart::first_file;
use crate::http::postgrest::caller;
use crate::http::rpc::read_fault;
use crate::http::server::App;
use crate::postgres::{Upload, UploadError};
use crate::store::Kind;
use crate::token::{Claims, TokenError, now};

/// The bucket of binary files.
const ASSETS: &str = "project-assets";
/// The bucket of snapshots.
pub const SNAPSHOTS: &str = "project-snapshots";
/// The largest object.
const MAX_OBJECT: usize = 50 << 20;

/// `GET /object/authenticated/<bucket>/<name>`, and without `authenticated` the same.
pub async fn read(State(app): State<Arc<App>>, Path(object): Path<String>, headers: HeaderMap) -> Response {
    let claims = match storage_caller(&headers, &app) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    if let Some(response) = read_fault(&app).await {
        return response;
    }
    let bytes = match (object.split_once('/'), &app.store.0) {
        (Some((bucket, name)), Kind::Postgres(postgres)) => match postgres.may_read_object(&claims, bucket, name).await
        {
            true => postgres.object(&object).await,
            false => None,
        },
        (Some((bucket, name)), Kind::Memory(_)) if may_read(&app, &claims, bucket, name) => in_memory(&app, &object),
        _ => None,
    };
    match bytes {
        Some(bytes) => {
            let etag = format!("\"{}\"", crate::digest::content_hash(&bytes));
            ([(CONTENT_TYPE, "application/octet-stream".to_owned()), (ETAG, etag)], bytes).into_response()
        }
        None => refusal("404", "not_found", "Object not found"),
    }
}

/// `POST`: a new object, or with `x-upsert: true` in place of an old one.
pub async fn upload(
    State(app): State<Arc<App>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let upsert = headers.get("x-upsert").is_some_and(|value| value == "true");
    store(&app, &object, &headers, body, upsert).await
}

/// `PUT`: in place of an old object.
pub async fn replace(
    State(app): State<Arc<App>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    store(&app, &object, &headers, body, true).await
}

async fn store(app: &App, object: &str, headers: &HeaderMap, body: Bytes, upsert: bool) -> Response {
    let claims = match storage_caller(headers, app) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    match object.split_once('/') {
        Some(_) if matches!(app.store.0, Kind::Postgres(_)) => {}
        Some((ASSETS, name)) if is_own(app, name) && app.rights.may_write(&claims) => {}
        Some((SNAPSHOTS, name)) if is_own(app, name) && claims.role() == "service_role" => {}
        _ => return refusal("403", "Unauthorized", "new row violates row-level security policy"),
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(bytes) = (if kind.starts_with("multipart/form-data") { first_file(kind, &body) } else { Some(body) })
    else {
        return refusal("400", "invalid_request", "the form holds no file");
    };
    if bytes.len() > MAX_OBJECT {
        return refusal("413", "Payload too large", "The object exceeded the maximum allowed size");
    }
    if let Kind::Postgres(postgres) = &app.store.0 {
        let (bucket, name) = object.split_once('/').unwrap_or_default();
        let (bucket, name, kind) = (bucket.to_owned(), name.to_owned(), kind.to_owned());
        let upload = postgres.upload(Upload { claims, bucket, name, kind, bytes, upsert }).await;
        return match upload {
            Ok(()) => Json(json!({"Key": object, "Id": uuid::Uuid::new_v4().to_string()})).into_response(),
            Err(error @ UploadError::Exists) => refusal("409", "Duplicate", &error.to_string()),
            Err(error @ UploadError::NoRight) => refusal("403", "Unauthorized", &error.to_string()),
            Err(error) => refusal("500", "Internal", &error.to_string()),
        };
    }
    if !upsert && in_memory(app, object).is_some() {
        return refusal("409", "Duplicate", "The resource already exists");
    }
    match app.objects.put(object, bytes) {
        Ok(()) => Json(json!({"Key": object, "Id": uuid::Uuid::new_v4().to_string()})).into_response(),
        Err(error) => refusal("507", "insufficient_storage", &error.to_string()),
    }
}

/// `POST /object/sign/<bucket>/<name>` with `{expiresIn}` in seconds.
pub async fn sign(
    State(app): State<Arc<App>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    match storage_caller(&headers, &app) {
        Ok(claims) if may_sign(&app, &claims, &object).await => {}
        Ok(_) => return refusal("404", "not_found", "Object not found"),
        Err(response) => return *response,
    }
    let seconds = body["expiresIn"].as_u64().unwrap_or(60);
    Json(json!({ "signedURL": signed_path(&app, &object, seconds) })).into_response()
}

/// `POST /object/list/<bucket>` with `{prefix, limit}`: a folder's objects, the newest first (in memory, of
/// assets by name).
pub async fn list(
    State(app): State<Arc<App>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let claims = match storage_caller(&headers, &app) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    let folder = body["prefix"].as_str().unwrap_or_default().trim_end_matches('/');
    let limit = body["limit"].as_i64().unwrap_or(100).clamp(1, 1000);
    let Kind::Postgres(postgres) = &app.store.0 else {
        return Json(list_in_memory(&app, &claims, &bucket, folder, limit as usize)).into_response();
    };
    match postgres.list_objects(&claims, &bucket, folder, limit).await {
        Ok(listed) => Json(listed).into_response(),
        Err(error) => refusal("500", "Internal", &error.to_string()),
    }
}

/// `DELETE /object/<bucket>` with `{prefixes}`: by the service alone.
pub async fn remove(
    State(app): State<Arc<App>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    match storage_caller(&headers, &app) {
        Ok(claims) if claims.role() == "service_role" => {}
        Ok(_) => return refusal("403", "Unauthorized", "new row violates row-level security policy"),
        Err(response) => return *response,
    }
    let names = body["prefixes"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned));
    let names: Vec<String> = names.collect();
    let Kind::Postgres(postgres) = &app.store.0 else {
        names.iter().for_each(|name| app.objects.remove(&format!("{bucket}/{name}")));
        if bucket == SNAPSHOTS {
            app.snapshots.remove(&names);
        }
        return Json(json!([])).into_response();
    };
    match postgres.remove_objects(&bucket, names).await {
        Ok(()) => Json(json!([])).into_response(),
        Err(error) => refusal("500", "Internal", &error.to_string()),
    }
}

/// Who may read it may sign it.
async fn may_sign(app: &App, claims: &Claims, object: &str) -> bool {
    match (&app.store.0, object.split_once('/')) {
        (Kind::Postgres(postgres), Some((bucket, name))) => postgres.may_read_object(claims, bucket, name).await,
        (Kind::Memory(_), Some((bucket, name))) => {
            may_read(app, claims, bucket, name) && in_memory(app, object).is_some()
        }
        (_, None) => false,
    }
}

/// Of what is in memory: assets for who reads the project, snapshots for its people.
fn may_read(app: &App, claims: &Claims, bucket: &str, name: &str) -> bool {
    let may = match bucket {
        ASSETS => app.rights.may_read(claims),
        SNAPSHOTS => app.rights.may_write(claims),
        _ => false,
    };
    may && is_own(app, name)
}

/// An object's bytes: a snapshot of the backend's own, or what was uploaded.
fn in_memory(app: &App, object: &str) -> Option<Bytes> {
    let snapshot = object.strip_prefix(SNAPSHOTS).and_then(|name| app.snapshots.get(name.trim_start_matches('/')));
    snapshot.or_else(|| app.objects.get(object))
}

fn list_in_memory(app: &App, claims: &Claims, bucket: &str, folder: &str, limit: usize) -> Value {
    let snapshots = if bucket == SNAPSHOTS { app.snapshots.list() } else { Vec::new() };
    let bucket_prefix = format!("{bucket}/");
    let uploaded = app.objects.list(&bucket_prefix);
    let uploaded = uploaded.into_iter().map(|(name, size)| (name[bucket_prefix.len()..].to_owned(), size));
    let listed = snapshots.into_iter().chain(uploaded).filter(|(name, _)| may_read(app, claims, bucket, name));
    let listed = listed.filter_map(|(name, size)| {
        let name = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some(json!({"name": name, "id": name, "created_at": null, "metadata": {"size": size}}))
    });
    listed.take(limit).collect()
}

/// The path and query, below `/storage/v1`, at which whoever has it may read the object.
pub fn signed_path(app: &App, object: &str, seconds: u64) -> String {
    let now = now();
    let token =
        app.keys.sign(&json!({"role": "storage", "url": object, "iat": now, "exp": now.saturating_add(seconds)}));
    format!("/object/sign/{object}?token={token}")
}

/// `GET /object/sign/<bucket>/<name>?token=…`, with ranges.
pub async fn signed(
    State(app): State<Arc<App>>,
    Path(object): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = query.get("token") else {
        return refusal("400", "Error", "querystring must have required property 'token'");
    };
    match app.keys.verify_live(token) {
        Ok(claims) if claims.text("url") == Some(&object) => {}
        Ok(_) => return refusal("400", "InvalidSignature", "The url do not match the signature"),
        Err(TokenError::Expired(_)) => {
            return refusal("400", "InvalidJWT", "\"exp\" claim timestamp check failed");
        }
        Err(_) => return refusal("400", "InvalidJWT", "signature verification failed"),
    }
    let bytes = match (in_memory(&app, &object), &app.store.0) {
        (None, Kind::Postgres(postgres)) => postgres.object(&object).await,
        (held, _) => held,
    };
    match bytes {
        Some(bytes) => download::respond(&app, Download::new(bytes), &headers),
        None => refusal("404", "not_found", "Object not found"),
    }
}

/// HTTP 400, whatever the status in the body.
fn refusal(status: &str, error: &str, message: &str) -> Response {
    let body = json!({"statusCode": status, "error": error, "message": message});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// The gateway's refusals as they are; a bad token is 400 here too, with 403 in the body.
fn storage_caller(headers: &HeaderMap, app: &App) -> Result<Claims, Box<Response>> {
    caller(headers, &app.keys).map_err(|error| {
        Box::new(match error.code.as_deref() {
            None => error.response(),
            Some("PGRST303") => refusal("403", "Unauthorized", "\"exp\" claim timestamp check failed"),
            Some(_) => refusal("403", "Unauthorized", &error.message),
        })
    })
}

/// An object of the project, in no deeper folder.
fn is_own(app: &App, name: &str) -> bool {
    name.split_once('/').is_some_and(|(project, rest)| project == app.rights.project_id && !rest.contains('/'))
}
