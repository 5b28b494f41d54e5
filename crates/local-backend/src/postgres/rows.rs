use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::Shared;
use super::call::Asked;
use super::catalog::{literal, quoted};
use crate::http::postgrest::ApiError;
use crate::token::Claims;

/// Rows that PostgREST gives at most.
const MAX_ROWS: usize = 1000;

/// A request for a table's or view's rows.
pub struct RowsRequest {
    pub table: String,
    pub rows: Rows,
    pub filters: Vec<Filter>,
    /// The rows that were written are wanted back, which takes the right to read them.
    pub represent: bool,
    pub claims: Claims,
    /// The request's headers, in small letters.
    pub headers: Map<String, Value>,
}

/// What is to be done.
pub enum Rows {
    /// Some columns, or all where none is named.
    Select(Vec<String>),
    /// One row or several, each an object with the same columns.
    Insert(Value),
    Update(Map<String, Value>),
    Delete,
}

/// `column=operator.value` of a query.
pub struct Filter {
    column: String,
    operator: &'static str,
    value: String,
}

impl Filter {
    /// Nothing where the operator is none of those that are understood here.
    pub fn parse(column: &str, text: &str) -> Option<Filter> {
        let (operator, value) = text.split_once('.')?;
        let operator = match operator {
            "eq" => "=",
            "neq" => "<>",
            "gt" => ">",
            "gte" => ">=",
            "lt" => "<",
            "lte" => "<=",
            _ => return None,
        };
        Some(Filter { column: column.into(), operator, value: value.into() })
    }
}

impl Shared {
    /// Does it in a transaction of its own as the caller, and gives the rows' JSON.
    pub async fn rows(&self, request: RowsRequest) -> Result<String, ApiError> {
        let (statement, body) = statement(&request)?;
        let asked = Asked {
            claims: request.claims,
            method: match request.rows {
                Rows::Select(_) => "GET",
                Rows::Insert(_) => "POST",
                Rows::Update(_) => "PATCH",
                Rows::Delete => "DELETE",
            },
            path: format!("/{}", request.table),
            headers: request.headers,
            reads_only: matches!(request.rows, Rows::Select(_)),
        };
        self.run(asked, &statement, &body).await
    }
}

/// The statement, and the JSON that is its `$1`.
fn statement(request: &RowsRequest) -> Result<(String, String), ApiError> {
    let table = format!("public.{}", quoted(&request.table));
    let filters: Vec<String> = request
        .filters
        .iter()
        .map(|filter| format!("{} {} {}", quoted(&filter.column), filter.operator, literal(&filter.value)))
        .collect();
    let picked = match filters.is_empty() {
        true => String::new(),
        false => format!(" where {}", filters.join(" and ")),
    };
    // Hosted refuses a write to every row, by the extension `safeupdate`.
    let needs_filter = |word: &str| match filters.is_empty() {
        true => Err(ApiError::new(StatusCode::BAD_REQUEST, "21000", format!("{word} requires a WHERE clause"))),
        false => Ok(()),
    };
    let listed = |columns: Vec<&str>| columns.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    let (change, body) = match &request.rows {
        Rows::Select(columns) => {
            let columns = match columns.is_empty() {
                true => "*".to_owned(),
                false => listed(columns.iter().map(String::as_str).collect()),
            };
            let rows = format!("select {columns} from {table}{picked} limit {MAX_ROWS}");
            return Ok((format!("select coalesce(json_agg(given)::text, '[]') from ({rows}) given"), String::new()));
        }
        Rows::Insert(rows) => {
            let rows = if rows.is_object() { Value::Array(vec![rows.clone()]) } else { rows.clone() };
            let columns =
                listed(rows[0].as_object().map(|row| row.keys().map(String::as_str).collect()).unwrap_or_default());
            let from = format!("json_populate_recordset(null::{table}, $1::json)");
            (format!("insert into {table} ({columns}) select {columns} from {from}"), rows)
        }
        Rows::Update(row) => {
            needs_filter("UPDATE")?;
            let columns = listed(row.keys().map(String::as_str).collect());
            let values = format!("select {columns} from json_populate_record(null::{table}, $1::json)");
            (format!("update {table} set ({columns}) = ({values}){picked}"), Value::Object(row.clone()))
        }
        Rows::Delete => {
            needs_filter("DELETE")?;
            (format!("delete from {table}{picked}"), Value::Null)
        }
    };
    // What is given back must be readable; a constant is so for everybody.
    let back = if request.represent { "*" } else { "1" };
    let statement =
        format!("with done as ({change} returning {back}) select coalesce(json_agg(done)::text, '[]') from done");
    Ok((statement, body.to_string()))
}
