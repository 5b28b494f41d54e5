//! `/rest/v1/<table>`: rows of tables and views, over a PostgreSQL alone. Of PostgREST's language only what picks columns
//! and compares one with a value.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::http::postgrest::{ApiError, caller};
use crate::http::server::App;
use crate::postgres::{Filter, Rows, RowsRequest};
use crate::store::Kind;

/// `GET ?select=a,b&c=eq.1`.
pub async fn select(
    State(app): State<Arc<App>>,
    Path(table): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let columns = query.remove("select").filter(|columns| columns != "*").unwrap_or_default();
    let columns = columns.split(',').map(str::trim).filter(|column| !column.is_empty()).map(Into::into).collect();
    answer(&app, table, Rows::Select(columns), query, &headers).await
}

/// `POST` with one row or a list of them.
pub async fn insert(
    State(app): State<Arc<App>>,
    Path(table): Path<String>,
    headers: HeaderMap,
    Json(rows): Json<Value>,
) -> Response {
    answer(&app, table, Rows::Insert(rows), HashMap::new(), &headers).await
}

/// `PATCH ?c=eq.1` with the columns that change.
pub async fn update(
    State(app): State<Arc<App>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    Json(row): Json<Map<String, Value>>,
) -> Response {
    answer(&app, table, Rows::Update(row), query, &headers).await
}

/// `DELETE ?c=eq.1`.
pub async fn delete(
    State(app): State<Arc<App>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    answer(&app, table, Rows::Delete, query, &headers).await
}

async fn answer(app: &App, table: String, rows: Rows, query: HashMap<String, String>, headers: &HeaderMap) -> Response {
    let represent = headers.get("prefer").is_some_and(|prefer| prefer == "return=representation");
    let status = match (&rows, represent) {
        (Rows::Select(_), _) | (Rows::Update(_) | Rows::Delete, true) => StatusCode::OK,
        (Rows::Insert(_), _) => StatusCode::CREATED,
        (Rows::Update(_) | Rows::Delete, false) => StatusCode::NO_CONTENT,
    };
    let with_body = represent || matches!(rows, Rows::Select(_));
    match ask(app, table, rows, query, represent, headers).await {
        Ok(rows) if with_body => (status, [(CONTENT_TYPE, "application/json")], rows).into_response(),
        Ok(_) => status.into_response(),
        Err(error) => error.response(),
    }
}

async fn ask(
    app: &App,
    table: String,
    rows: Rows,
    query: HashMap<String, String>,
    represent: bool,
    headers: &HeaderMap,
) -> Result<String, ApiError> {
    let claims = caller(headers, &app.keys)?;
    let Kind::Postgres(postgres) = &app.store.0 else {
        let message = format!("Could not find the table 'public.{table}' in the schema cache");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "PGRST205", message));
    };
    let filter = |(column, text): (&String, &String)| {
        let refused = || format!("not understood by the local backend: {column}={text}");
        Filter::parse(column, text).ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "PGRST100", refused()))
    };
    let filters = query.iter().map(filter).collect::<Result<_, _>>()?;
    let text = |value: &axum::http::HeaderValue| json!(String::from_utf8_lossy(value.as_bytes()));
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    postgres.rows(RowsRequest { table, rows, filters, represent, claims, headers }).await
}
