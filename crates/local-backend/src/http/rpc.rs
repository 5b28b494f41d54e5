//! `/rest/v1/rpc/`: the functions of the contract's section 5, in memory or in the database, with the faults of reads.

mod arguments;
mod functions;
mod listing;
mod reads;
mod writes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::postgrest::{ApiError, caller, headers_as_json, no_such_function};
use super::server::close_connection;
use super::state::Api;
use crate::code::Code;
use crate::postgres::{Call, CallMethod, Postgres};
use crate::store::StoreKind;
use crate::store::memory::Memory;
use crate::store::rate_limit::RateLimit;
use crate::store_error::StoreError;
use crate::token::Claims;

use arguments::Arguments;
use functions::{Function, FunctionKind};
use listing::Listing;

/// One request for a function.
struct Request<'a> {
    name: &'a str,
    arguments: Map<String, Value>,
    filters: &'a HashMap<String, String>,
    headers: &'a HeaderMap,
    method: CallMethod,
}

/// Arguments in the body, filters in the query.
pub async fn post(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let arguments = if body.is_empty() { Ok(Map::new()) } else { serde_json::from_slice(&body) };
    match arguments {
        Ok(arguments) => {
            let (filters, headers) = (&query, &headers);
            respond(&api, Request { name: &name, arguments, filters, headers, method: CallMethod::Post }).await
        }
        Err(error) => {
            let message = format!("Empty or invalid json: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, Code::BadJson, message).response()
        }
    }
}

/// Arguments and filters in the query: a name that is not an argument of the function is a filter.
pub async fn get(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let function = Function::parse(&name);
    let in_database = match &api.store.0 {
        StoreKind::Memory(_) if function.is_some_and(|function| function.kind() == FunctionKind::Write) => {
            let message = "cannot execute INSERT in a read-only transaction";
            return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, Code::ReadOnly, message).response();
        }
        StoreKind::Memory(_) => HashSet::new(),
        StoreKind::Postgres(postgres) => postgres.arguments(&name),
    };
    let is_argument =
        |key: &String| in_database.contains(key) || function.is_some_and(|function| function.has_argument(key));
    let (arguments, filters): (HashMap<_, _>, HashMap<_, _>) = query.into_iter().partition(|(key, _)| is_argument(key));
    let arguments = arguments.into_iter().map(|(key, value)| (key, json!(value))).collect();
    let (filters, headers) = (&filters, &headers);
    respond(&api, Request { name: &name, arguments, filters, headers, method: CallMethod::Get }).await
}

async fn respond(api: &Api, request: Request<'_>) -> Response {
    let claims = match caller(request.headers, &api.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    let function = Function::parse(request.name);
    let kind = function.map(Function::kind);
    if matches!(kind, Some(FunctionKind::Read | FunctionKind::LegacyRead)) {
        if let Some(response) = read_fault(api).await {
            return response;
        }
        if let Some(body) = fake_answer(api, request.name) {
            return Json(body).into_response();
        }
    }
    if kind == Some(FunctionKind::Write) && api.faults.roll(|all, random| all.too_many_writes.happens(random)) {
        return ApiError::from(StoreError::TooManyWrites { retry_after_ms: 1000 }).response();
    }
    if kind == Some(FunctionKind::Read) && api.faults.roll(|all, _| all.legacy_database) {
        return no_such_function(request.name, &request.arguments.into()).response();
    }
    let memory = match &api.store.0 {
        StoreKind::Memory(memory) => memory,
        StoreKind::Postgres(postgres) => {
            return call_in_database(api, postgres, request, claims).await.unwrap_or_else(ApiError::response);
        }
    };
    let arguments = Arguments::new(request.arguments);
    let Some(function) = function.filter(|function| arguments.fit(&function.parameters())) else {
        return no_such_function(request.name, &arguments.into_json()).response();
    };
    match call_in_memory(api, memory, function, &arguments, &claims, request.filters) {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.response(),
    }
}

/// Calls any function that the database has, with the rights that it gives the caller.
async fn call_in_database(
    api: &Api,
    postgres: &Postgres,
    request: Request<'_>,
    claims: Claims,
) -> Result<Response, ApiError> {
    let Request { name, mut arguments, filters, headers, method } = request;
    let function = Function::parse(name);
    if function == Some(Function::ListProjectChanges)
        && let Some(rows) = api.faults.roll(|all, _| all.page_rows)
    {
        arguments.insert("max_rows".into(), json!(rows.max(1)));
    }
    // PostgREST ignores filters on functions that return one value.
    let selection = match function {
        Some(Function::ListCurrentFiles) => Some(Listing::parse(filters)?.selection()),
        _ => None,
    };
    let headers = headers_as_json(headers);
    let call = Call { name: name.into(), arguments, claims: claims.clone(), method, headers, selection };
    let answer = postgres.call(call).await.map_err(|error| ApiError::from_database(error, &claims))?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

fn call_in_memory(
    api: &Api,
    memory: &Memory,
    function: Function,
    arguments: &Arguments,
    claims: &Claims,
    filters: &HashMap<String, String>,
) -> Result<Value, ApiError> {
    let (may, action) = match function.kind() {
        FunctionKind::Flag => {
            return match claims.role() {
                "authenticated" | "service_role" => reads::is_feature_enabled(arguments),
                _ => Err(ApiError::no_right(claims, "read flags")),
            };
        }
        FunctionKind::Write => (api.rights.may_write(claims), "write this project"),
        FunctionKind::Read | FunctionKind::LegacyRead => (api.rights.may_read(claims), "read this project"),
    };
    let project = arguments.text("project_uuid")?;
    if uuid::Uuid::parse_str(project).is_err() {
        let message = format!("invalid input syntax for type uuid: {project:?}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, Code::InvalidText, message));
    }
    let exists = project.eq_ignore_ascii_case(api.rights.project_id());
    if claims.role() == "service_role" && !exists {
        return Err(ApiError::new(StatusCode::NOT_FOUND, Code::NotFound, "project not found"));
    }
    if !may || !exists {
        // A project that does not exist and one of another user give the same answer.
        return Err(ApiError::no_right(claims, action));
    }
    let sender = claims.text("sub").unwrap_or("service_role");
    match function {
        Function::ListProjectChanges => reads::list_project_changes(api, memory, arguments),
        Function::ProjectHead => Ok(reads::project_head(memory)),
        Function::GetProjectFile => reads::get_project_file(memory, arguments),
        Function::ListCurrentFiles => Listing::parse(filters).map(|listing| listing.rows(memory)),
        write => write_in_memory(api, memory, write, arguments, sender),
    }
}

/// Writes under the rate limit; refused writes cost nothing.
fn write_in_memory(
    api: &Api,
    memory: &Memory,
    function: Function,
    arguments: &Arguments,
    sender: &str,
) -> Result<Value, ApiError> {
    let (cost, now) = (arguments.entries().map_or(1.0, RateLimit::cost), Timestamp::now());
    memory.project().rate_limit.check(sender, cost, now)?;
    let written = match function {
        Function::UpsertProjectFile => writes::upsert(api, memory, arguments, sender),
        Function::DeleteProjectFile => writes::delete(api, memory, arguments, sender),
        Function::BulkUpsertProjectFiles => writes::bulk_upsert(api, memory, arguments, sender),
        Function::BulkDeleteProjectFiles => writes::bulk_delete(memory, arguments, sender),
        _ => writes::register_asset(api, memory, arguments, sender),
    };
    if written.is_ok() {
        memory.project().rate_limit.spend(sender, cost, now);
    }
    written
}

/// Waits for the delay that the faults ask for, and returns the answer that a fault gives in place of a read's.
pub async fn read_fault(api: &Api) -> Option<Response> {
    let (delay, status) = api.faults.roll(|all, random| {
        let fail = all.fail_reads.as_mut();
        let status = fail.and_then(|fail| fail.chance.happens(random).then_some(fail.status));
        (all.delay_reads_ms, status)
    });
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = match status? {
        0 => return Some(close_connection()),
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => (Code::ExpiredToken, "JWT expired"),
        StatusCode::TOO_MANY_REQUESTS => (Code::TooManyWrites, FAULT),
        StatusCode::FORBIDDEN => (Code::NoRight, FAULT),
        _ => (Code::Internal, FAULT),
    };
    let mut response = ApiError::new(status, code, message).response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    Some(response)
}

/// The message of an error that a fault causes.
pub const FAULT: &str = "this error was requested as a fault";

fn fake_answer(api: &Api, function: &str) -> Option<Value> {
    api.faults.roll(|all, random| {
        let answer = all.answers.get_mut(function)?;
        answer.chance.happens(random).then(|| answer.body.clone())
    })
}
