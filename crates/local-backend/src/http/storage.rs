//! `/storage/v1/`: binary files of the project, and snapshots by signed URL. Storage answers most refusals with 400 and has
//! the real status in the body.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::download::{self, Download};
use super::multipart::first_file;
use super::postgrest::caller;
use super::rpc::read_fault;
use super::state::Api;
use crate::code::Code;
use crate::object_name::{ASSETS, SNAPSHOTS};
use crate::postgres::{Overwrite, Upload, UploadError};
use crate::store::StoreKind;
use crate::store::objects::ObjectInfo;
use crate::token::{Claims, TokenError};

/// Largest object in bytes.
const MAX_OBJECT: usize = 50 << 20;

/// `GET /object/authenticated/<bucket>/<name>`, also without `authenticated`.
pub async fn read(State(api): State<Arc<Api>>, Path(object): Path<String>, headers: HeaderMap) -> Response {
    let claims = match storage_caller(&headers, &api) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    if let Some(response) = read_fault(&api).await {
        return response;
    }
    let bytes = match (object.split_once('/'), &api.store.0) {
        (Some((bucket, name)), StoreKind::Postgres(postgres)) => {
            match postgres.may_read_object(&claims, bucket, name).await {
                true => postgres.object(&object).await,
                false => None,
            }
        }
        (Some((bucket, name)), StoreKind::Memory(_)) if may_read(&api, &claims, bucket, name) => {
            in_memory(&api, &object)
        }
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

/// `POST`: stores an object; only `x-upsert: true` replaces an existing one.
pub async fn upload(
    State(api): State<Arc<Api>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let overwrite = match headers.get("x-upsert") {
        Some(value) if value == "true" => Overwrite::Allowed,
        _ => Overwrite::Refused,
    };
    store(&api, &object, &headers, body, overwrite).await
}

/// `PUT`: stores an object, in place of an existing one.
pub async fn replace(
    State(api): State<Arc<Api>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    store(&api, &object, &headers, body, Overwrite::Allowed).await
}

async fn store(api: &Api, object: &str, headers: &HeaderMap, body: Bytes, overwrite: Overwrite) -> Response {
    let claims = match storage_caller(headers, api) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    match object.split_once('/') {
        Some(_) if matches!(api.store.0, StoreKind::Postgres(_)) => {}
        Some((ASSETS, name)) if is_own(api, name) && api.rights.may_write(&claims) => {}
        Some((SNAPSHOTS, name)) if is_own(api, name) && claims.role() == "service_role" => {}
        _ => return refusal("403", "Unauthorized", "new row violates row-level security policy"),
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(bytes) = (match content_type.starts_with("multipart/form-data") {
        true => first_file(content_type, &body),
        false => Some(body),
    }) else {
        return refusal("400", "invalid_request", "the form has no file");
    };
    if bytes.len() > MAX_OBJECT {
        return refusal("413", "Payload too large", "The object exceeded the maximum allowed size");
    }
    if let StoreKind::Postgres(postgres) = &api.store.0 {
        let (bucket, name) = object.split_once('/').unwrap_or_default();
        let (bucket, name, content_type) = (bucket.to_owned(), name.to_owned(), content_type.to_owned());
        let upload = postgres.upload(Upload { claims, bucket, name, content_type, bytes, overwrite }).await;
        return match upload {
            Ok(()) => Json(json!({"Key": object, "Id": uuid::Uuid::new_v4().to_string()})).into_response(),
            Err(error @ UploadError::Exists) => refusal("409", "Duplicate", &error.to_string()),
            Err(error @ UploadError::NoRight) => refusal("403", "Unauthorized", &error.to_string()),
            Err(error) => refusal("500", "Internal", &error.to_string()),
        };
    }
    if overwrite == Overwrite::Refused && in_memory(api, object).is_some() {
        return refusal("409", "Duplicate", "The resource already exists");
    }
    match api.objects.put(object, bytes) {
        Ok(()) => Json(json!({"Key": object, "Id": uuid::Uuid::new_v4().to_string()})).into_response(),
        Err(error) => refusal("507", "insufficient_storage", &error.to_string()),
    }
}

/// `POST /object/sign/<bucket>/<name>` with `{expiresIn}` in seconds.
pub async fn sign(
    State(api): State<Arc<Api>>,
    Path(object): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    match storage_caller(&headers, &api) {
        Ok(claims) if may_sign(&api, &claims, &object).await => {}
        Ok(_) => return refusal("404", "not_found", "Object not found"),
        Err(response) => return *response,
    }
    let seconds = body.get("expiresIn").and_then(Value::as_u64).unwrap_or(60);
    Json(json!({ "signedURL": api.signed_path(&object, seconds) })).into_response()
}

/// `POST /object/list/<bucket>` with `{prefix, limit}`: the objects of a folder, the newest first (assets in memory by name).
pub async fn list(
    State(api): State<Arc<Api>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let claims = match storage_caller(&headers, &api) {
        Ok(claims) => claims,
        Err(response) => return *response,
    };
    let folder = body.get("prefix").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/');
    let limit = body.get("limit").and_then(Value::as_u64).unwrap_or(100).clamp(1, 1000) as u16;
    let StoreKind::Postgres(postgres) = &api.store.0 else {
        return Json(list_in_memory(&api, &claims, &bucket, folder, limit as usize)).into_response();
    };
    match postgres.list_objects(&claims, &bucket, folder, limit.into()).await {
        Ok(listed) => Json(listed).into_response(),
        Err(error) => refusal("500", "Internal", &error.to_string()),
    }
}

/// `DELETE /object/<bucket>` with `{prefixes}`: only for the service.
pub async fn remove(
    State(api): State<Arc<Api>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    match storage_caller(&headers, &api) {
        Ok(claims) if claims.role() == "service_role" => {}
        Ok(_) => return refusal("403", "Unauthorized", "new row violates row-level security policy"),
        Err(response) => return *response,
    }
    let names = body.get("prefixes").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let StoreKind::Postgres(postgres) = &api.store.0 else {
        names.iter().for_each(|name| api.objects.remove(&format!("{bucket}/{name}")));
        if bucket == SNAPSHOTS {
            api.snapshots.remove(&names);
        }
        return Json(json!([])).into_response();
    };
    match postgres.remove_objects(&bucket, names).await {
        Ok(()) => Json(json!([])).into_response(),
        Err(error) => refusal("500", "Internal", &error.to_string()),
    }
}

/// Who may read an object may sign its URL.
async fn may_sign(api: &Api, claims: &Claims, object: &str) -> bool {
    match (&api.store.0, object.split_once('/')) {
        (StoreKind::Postgres(postgres), Some((bucket, name))) => postgres.may_read_object(claims, bucket, name).await,
        (StoreKind::Memory(_), Some((bucket, name))) => {
            may_read(api, claims, bucket, name) && in_memory(api, object).is_some()
        }
        (_, None) => false,
    }
}

/// The rights on objects in memory: readers of the project read assets, its writers read snapshots.
fn may_read(api: &Api, claims: &Claims, bucket: &str, name: &str) -> bool {
    let may = match bucket {
        ASSETS => api.rights.may_read(claims),
        SNAPSHOTS => api.rights.may_write(claims),
        _ => false,
    };
    may && is_own(api, name)
}

/// The bytes of a snapshot that the backend built, or of an upload.
fn in_memory(api: &Api, object: &str) -> Option<Bytes> {
    let snapshot = object.strip_prefix(SNAPSHOTS).and_then(|name| api.snapshots.get(name.trim_start_matches('/')));
    snapshot.or_else(|| api.objects.get(object))
}

fn list_in_memory(api: &Api, claims: &Claims, bucket: &str, folder: &str, limit: usize) -> Value {
    let snapshots = if bucket == SNAPSHOTS { api.snapshots.list() } else { Vec::new() };
    let uploaded = api.objects.list(&format!("{bucket}/"));
    let listed = snapshots.into_iter().chain(uploaded).filter(|object| may_read(api, claims, bucket, &object.name));
    let listed = listed.filter_map(|ObjectInfo { name, size }| {
        let name = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some(json!({"name": name, "id": name, "created_at": null, "metadata": {"size": size}}))
    });
    listed.take(limit).collect()
}

/// `GET /object/sign/<bucket>/<name>?token=…`, with ranges.
pub async fn signed(
    State(api): State<Arc<Api>>,
    Path(object): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = query.get("token") else {
        return refusal("400", "Error", "querystring must have required property 'token'");
    };
    match api.keys.verify_live(token) {
        Ok(claims) if claims.text("url") == Some(&object) => {}
        Ok(_) => return refusal("400", "InvalidSignature", "The url do not match the signature"),
        Err(TokenError::Expired(_)) => {
            return refusal("400", "InvalidJWT", "\"exp\" claim timestamp check failed");
        }
        Err(_) => return refusal("400", "InvalidJWT", "signature verification failed"),
    }
    let bytes = match (in_memory(&api, &object), &api.store.0) {
        (None, StoreKind::Postgres(postgres)) => postgres.object(&object).await,
        (in_memory, _) => in_memory,
    };
    match bytes {
        Some(bytes) => download::respond(&api, Download::new(bytes), &headers),
        None => refusal("404", "not_found", "Object not found"),
    }
}

/// HTTP 400 with the real status in the body.
fn refusal(status: &str, error: &str, message: &str) -> Response {
    let body = json!({"statusCode": status, "error": error, "message": message});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// The caller's claims. The gateway's refusals are unchanged; an invalid token is 400 with 403 in the body.
fn storage_caller(headers: &HeaderMap, api: &Api) -> Result<Claims, Box<Response>> {
    caller(headers, &api.keys).map_err(|error| {
        Box::new(match error.code.as_deref().map(Code::parse) {
            None => error.response(),
            Some(Some(Code::ExpiredToken)) => refusal("403", "Unauthorized", "\"exp\" claim timestamp check failed"),
            Some(_) => refusal("403", "Unauthorized", &error.message),
        })
    })
}

/// Whether the object is directly in the project's folder.
fn is_own(api: &Api, name: &str) -> bool {
    name.split_once('/').is_some_and(|(project, rest)| project == api.rights.project_id() && !rest.contains('/'))
}
