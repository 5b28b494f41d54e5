//! `/rest/v1/rpc/`: who may call what, and the faults of reading.

pub mod reads;
pub mod writes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::http::arguments::Arguments;
use crate::http::postgrest::{ApiError, caller, no_such_function};
use crate::http::server::{App, hang_up};
use crate::postgres::{Call, Postgres};
use crate::store::Kind as StoreKind;
use crate::store::listing::Listing;
use crate::store::memory::Memory;
use crate::store::rate_limit::Buckets;
use crate::store_error::StoreError;
use crate::token::Claims;

/// One function: its name, its arguments with and without a default, and what it is.
struct Function {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A read that the older databases do not have.
    Read,
    OlderRead,
    Write,
    Flag,
}

const FUNCTIONS: [Function; 10] = [
    function("list_project_changes", &["project_uuid", "since_revision"], &["max_rows", "with_content"], Kind::Read),
    function("project_head", &["project_uuid"], &[], Kind::Read),
    function("get_project_file", &["project_uuid", "p_file_path", "p_version"], &[], Kind::Read),
    function("list_current_files", &["project_uuid"], &[], Kind::OlderRead),
    function(
        "upsert_project_file",
        &["project_uuid", "p_file_path", "p_content"],
        &["p_file_type", "expected_version"],
        Kind::Write,
    ),
    function("delete_project_file", &["project_uuid", "p_file_path"], &["expected_version"], Kind::Write),
    function("bulk_upsert_project_files", &["project_uuid", "files"], &[], Kind::Write),
    function("bulk_delete_project_files", &["project_uuid", "file_paths"], &[], Kind::Write),
    function(
        "register_project_asset",
        &["project_uuid", "p_file_path", "p_file_type", "p_content_hash", "p_size"],
        &["expected_version"],
        Kind::Write,
    ),
    function("is_feature_enabled", &["flag_key"], &["user_id"], Kind::Flag),
];

const fn function(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    kind: Kind,
) -> Function {
    Function { name, required, optional, kind }
}

/// With the arguments in the body, and filters in the query.
pub async fn post(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let arguments = if body.is_empty() { Ok(Map::new()) } else { serde_json::from_slice(&body) };
    match arguments {
        Ok(arguments) => respond(&app, &name, arguments, &query, &headers, false).await,
        Err(error) => {
            let message = format!("Empty or invalid json: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "PGRST102", message).response()
        }
    }
}

/// With arguments and filters in the query: what the function does not know by name is a filter.
pub async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let function = FUNCTIONS.iter().find(|function| function.name == name);
    let has = |function: &Function, key: &str| function.required.contains(&key) || function.optional.contains(&key);
    let names = match &app.store.0 {
        StoreKind::Memory(_) => HashSet::new(),
        StoreKind::Postgres(postgres) => postgres.arguments(&name),
    };
    let known = |key: &String| names.contains(key) || function.is_some_and(|function| has(function, key));
    let in_memory = matches!(app.store.0, StoreKind::Memory(_));
    if in_memory && function.is_some_and(|function| function.kind == Kind::Write) {
        let message = "cannot execute INSERT in a read-only transaction";
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "25006", message).response();
    }
    let (arguments, filters): (HashMap<_, _>, HashMap<_, _>) = query.into_iter().partition(|(key, _)| known(key));
    let arguments = arguments.into_iter().map(|(key, value)| (key, json!(value))).collect();
    respond(&app, &name, arguments, &filters, &headers, true).await
}

async fn respond(
    app: &App,
    name: &str,
    arguments: Map<String, Value>,
    filters: &HashMap<String, String>,
    headers: &HeaderMap,
    get: bool,
) -> Response {
    let claims = match caller(headers, &app.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    let function = FUNCTIONS.iter().find(|function| function.name == name);
    let kind = function.map(|function| function.kind);
    if matches!(kind, Some(Kind::Read | Kind::OlderRead)) {
        if let Some(response) = read_fault(app).await {
            return response;
        }
        if let Some(body) = false_answer(app, name) {
            return Json(body).into_response();
        }
    }
    if kind == Some(Kind::Write) && app.faults.roll(|all, random| all.too_many_writes.strikes(random)) {
        return ApiError::from(StoreError::TooMany { retry_after_ms: 1000 }).response();
    }
    if kind == Some(Kind::Read) && app.faults.roll(|all, _| all.older_database) {
        return no_such_function(name, &arguments.into()).response();
    }
    let memory = match &app.store.0 {
        StoreKind::Memory(memory) => memory,
        StoreKind::Postgres(postgres) => {
            let request = Request { name, arguments, claims, filters, headers, get };
            return over_postgres(app, postgres, request).await.unwrap_or_else(ApiError::response);
        }
    };
    let named = Value::Object(arguments.clone());
    let arguments = Arguments::new(arguments);
    let Some(function) = function.filter(|function| arguments.fit(function.required, function.optional)) else {
        return no_such_function(name, &named).response();
    };
    match call(app, memory, function, &arguments, &claims, filters) {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.response(),
    }
}

struct Request<'a> {
    name: &'a str,
    arguments: Map<String, Value>,
    claims: Claims,
    filters: &'a HashMap<String, String>,
    headers: &'a HeaderMap,
    get: bool,
}

/// Whatever function the database has, with whatever rights it gives the caller.
async fn over_postgres(app: &App, postgres: &Postgres, request: Request<'_>) -> Result<Response, ApiError> {
    let Request { name, mut arguments, claims, filters, headers, get } = request;
    if name == "list_project_changes"
        && let Some(rows) = app.faults.roll(|all, _| all.page_rows)
    {
        arguments.insert("max_rows".into(), json!(rows.max(1)));
    }
    let text = |value: &HeaderValue| json!(String::from_utf8_lossy(value.as_bytes()));
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let listing = Listing::parse(filters);
    // Only rows are picked: for other functions PostgREST looks at no filter of rows that it does not know.
    let listing = if name == "list_current_files" { Some(listing?) } else { None };
    let call = Call { name: name.into(), arguments, claims, get, headers, listing };
    let answer = postgres.call(call).await?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

fn call(
    app: &App,
    memory: &Memory,
    function: &Function,
    arguments: &Arguments,
    claims: &Claims,
    filters: &HashMap<String, String>,
) -> Result<Value, ApiError> {
    if function.kind == Kind::Flag {
        return match claims.role() {
            "authenticated" | "service_role" => reads::is_feature_enabled(arguments),
            _ => Err(ApiError::no_right(claims, "ask for flags")),
        };
    }
    let write = function.kind == Kind::Write;
    let project = arguments.text("project_uuid")?;
    if uuid::Uuid::parse_str(project).is_err() {
        let message = format!("invalid input syntax for type uuid: {project:?}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "22P02", message));
    }
    let may = if write { app.rights.may_write(claims) } else { app.rights.may_read(claims) };
    let there = project.eq_ignore_ascii_case(&app.rights.project_id);
    if claims.role() == "service_role" && !there {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "PT404", "no such project"));
    }
    if !may || !there {
        // A project that is not there and one of somebody else's look the same.
        return Err(ApiError::no_right(claims, if write { "write this project" } else { "read this project" }));
    }
    let sender = claims.text("sub").unwrap_or("service_role");
    if !write {
        return match function.name {
            "list_project_changes" => reads::list_project_changes(app, memory, arguments),
            "project_head" => Ok(reads::project_head(memory)),
            "get_project_file" => reads::get_project_file(memory, arguments),
            _ => Listing::parse(filters).map(|listing| listing.rows(memory)),
        };
    }
    let (cost, now) = (arguments.entries().map_or(1.0, Buckets::cost), Timestamp::now());
    memory.project().buckets.check(sender, cost, now)?;
    let written = match function.name {
        "upsert_project_file" => writes::upsert(app, memory, arguments, sender),
        "delete_project_file" => writes::delete(app, memory, arguments, sender),
        "bulk_upsert_project_files" => writes::bulk_upsert(app, memory, arguments, sender),
        "bulk_delete_project_files" => writes::bulk_delete(memory, arguments, sender),
        _ => writes::register_asset(app, memory, arguments, sender),
    };
    if written.is_ok() {
        memory.project().buckets.spend(sender, cost, now);
    }
    written
}

/// What a read answers in place of the truth, after the delay that is asked for.
pub async fn read_fault(app: &App) -> Option<Response> {
    let (delay, status) = app.faults.roll(|all, random| {
        let fail = all.fail_reads.as_mut();
        let status = fail.and_then(|fail| fail.chance.strikes(random).then_some(fail.status));
        (all.delay_reads_ms, status)
    });
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = match status? {
        0 => return Some(hang_up()),
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut error = ApiError::new(status, "XX000", "a fault was asked for");
    match status {
        StatusCode::UNAUTHORIZED => (error.code, error.message) = (Some("PGRST303".into()), "JWT expired".into()),
        StatusCode::TOO_MANY_REQUESTS => error.code = Some("PT429".into()),
        StatusCode::FORBIDDEN => error.code = Some("42501".into()),
        _ => {}
    }
    let mut response = error.response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    Some(response)
}

fn false_answer(app: &App, name: &str) -> Option<Value> {
    app.faults.roll(|all, random| {
        let answer = all.answers.get_mut(name)?;
        answer.chance.strikes(random).then(|| answer.body.clone())
    })
}
