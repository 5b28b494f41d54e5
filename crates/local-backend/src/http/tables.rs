//! `/rest/v1/<table>`: rows of tables and views, only over a PostgreSQL. Of PostgREST's language only column lists and
//! comparisons with a value are supported.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value};

use super::postgrest::{ApiError, caller, headers_as_json};
use super::state::Api;
use crate::code::Code;
use crate::postgres::{Filter, Returning, Rows, RowsRequest};
use crate::store::StoreKind;

/// `GET ?select=a,b&c=eq.1`.
pub async fn select(
    State(api): State<Arc<Api>>,
    Path(table): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let columns = query.remove("select").filter(|columns| columns != "*").unwrap_or_default();
    let columns = columns.split(',').map(str::trim).filter(|column| !column.is_empty()).map(Into::into).collect();
    answer(&api, table, Rows::Select(columns), query, &headers).await
}

/// `POST` with one row or a list of them.
pub async fn insert(
    State(api): State<Arc<Api>>,
    Path(table): Path<String>,
    headers: HeaderMap,
    Json(rows): Json<Value>,
) -> Response {
    answer(&api, table, Rows::Insert(rows), HashMap::new(), &headers).await
}

/// `PATCH ?c=eq.1` with the columns that change.
pub async fn update(
    State(api): State<Arc<Api>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    Json(row): Json<Map<String, Value>>,
) -> Response {
    answer(&api, table, Rows::Update(row), query, &headers).await
}

/// `DELETE ?c=eq.1`.
pub async fn delete(
    State(api): State<Arc<Api>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    answer(&api, table, Rows::Delete, query, &headers).await
}

async fn answer(api: &Api, table: String, rows: Rows, query: HashMap<String, String>, headers: &HeaderMap) -> Response {
    let returning = match headers.get("prefer") {
        Some(prefer) if prefer == "return=representation" => Returning::Rows,
        _ => Returning::Nothing,
    };
    let status = match (&rows, returning) {
        (Rows::Select(_), _) | (Rows::Update(_) | Rows::Delete, Returning::Rows) => StatusCode::OK,
        (Rows::Insert(_), _) => StatusCode::CREATED,
        (Rows::Update(_) | Rows::Delete, Returning::Nothing) => StatusCode::NO_CONTENT,
    };
    let with_body = returning == Returning::Rows || matches!(rows, Rows::Select(_));
    match run(api, table, rows, query, returning, headers).await {
        Ok(rows) if with_body => (status, [(CONTENT_TYPE, "application/json")], rows).into_response(),
        Ok(_) => status.into_response(),
        Err(error) => error.response(),
    }
}

async fn run(
    api: &Api,
    table: String,
    rows: Rows,
    query: HashMap<String, String>,
    returning: Returning,
    headers: &HeaderMap,
) -> Result<String, ApiError> {
    let claims = caller(headers, &api.keys)?;
    let StoreKind::Postgres(postgres) = &api.store.0 else {
        let message = format!("Could not find the table 'public.{table}' in the schema cache");
        return Err(ApiError::new(StatusCode::NOT_FOUND, Code::NoTable, message));
    };
    let filter = |(column, text): (&String, &String)| {
        let refused = || format!("the local backend does not support {column}={text}");
        Filter::parse(column, text).ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, Code::BadQuery, refused()))
    };
    let filters = query.iter().map(filter).collect::<Result<_, _>>()?;
    let headers = headers_as_json(headers);
    let request = RowsRequest { table, rows, filters, returning, claims: claims.clone(), headers };
    postgres.rows(request).await.map_err(|error| ApiError::from_database(error, &claims))
}
