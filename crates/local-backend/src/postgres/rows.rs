use serde_json::{Map, Value};

use super::call::{Access, ApiRequest};
use super::catalog::{literal, quoted};
use super::{DatabaseError, Shared};
use crate::code::Code;
use crate::token::Claims;

/// Most rows of one answer of PostgREST.
const MAX_ROWS: usize = 1000;

/// A request for a table's or view's rows.
pub struct RowsRequest {
    pub table: String,
    pub rows: Rows,
    pub filters: Vec<Filter>,
    pub returning: Returning,
    pub claims: Claims,
    /// The request's headers by their lower-case names.
    pub headers: Map<String, Value>,
}

/// Whether an answer to a write holds the written rows, which needs the right to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returning {
    Rows,
    Nothing,
}

/// The operation of a request for rows.
pub enum Rows {
    /// These columns, or all if the list is empty.
    Select(Vec<String>),
    /// One object, or a list of objects with the same columns.
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
    /// `None` for an operator that is not supported here.
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
    /// Runs the operation in a transaction as the caller, and returns the rows' JSON.
    pub async fn rows(&self, request: RowsRequest) -> Result<String, DatabaseError> {
        let (statement, body) = statement(&request)?;
        let api_request = ApiRequest {
            claims: request.claims,
            method: match request.rows {
                Rows::Select(_) => "GET",
                Rows::Insert(_) => "POST",
                Rows::Update(_) => "PATCH",
                Rows::Delete => "DELETE",
            },
            path: format!("/{}", request.table),
            headers: request.headers,
            access: if matches!(request.rows, Rows::Select(_)) { Access::ReadOnly } else { Access::ReadWrite },
        };
        self.run(api_request, &statement, &body).await
    }
}

/// The statement, and the JSON of its `$1`.
fn statement(request: &RowsRequest) -> Result<(String, String), DatabaseError> {
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
    // The hosted service refuses a write to every row (extension `safeupdate`).
    let needs_filter = |word: &str| match filters.is_empty() {
        true => Err(DatabaseError::refused(Code::MissingWhere, format!("{word} requires a WHERE clause"))),
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
            let columns = listed(
                rows.get(0)
                    .and_then(Value::as_object)
                    .map(|row| row.keys().map(String::as_str).collect())
                    .unwrap_or_default(),
            );
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
    // Returned columns must be readable for the caller; a constant always is.
    let back = match request.returning {
        Returning::Rows => "*",
        Returning::Nothing => "1",
    };
    let statement =
        format!("with done as ({change} returning {back}) select coalesce(json_agg(done)::text, '[]') from done");
    Ok((statement, body.to_string()))
}
