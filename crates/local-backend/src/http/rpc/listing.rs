use std::collections::HashMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::http::postgrest::ApiError;
use crate::postgres::{RowSelection, literal};
use crate::row::Row;
use crate::store::memory::Memory;

/// Most rows of one answer of PostgREST.
const MAX_ROWS: usize = 1000;
/// The columns of `list_current_files`.
const COLUMNS: [&str; 6] = ["file_path", "file_type", "content", "content_hash", "version", "updated_at"];

/// The order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Unspecified,
    Ascending,
    Descending,
}

/// The query of `list_current_files`: the part of PostgREST's language for paging and for single files.
pub struct Listing {
    columns: Vec<String>,
    after: Option<String>,
    only: Option<String>,
    limit: usize,
    offset: usize,
    order: Order,
}

impl Listing {
    /// Refuses parameters that it does not support.
    pub fn parse(query: &HashMap<String, String>) -> Result<Listing, ApiError> {
        let mut listing = Listing {
            columns: COLUMNS.map(Into::into).to_vec(),
            after: None,
            only: None,
            limit: MAX_ROWS,
            offset: 0,
            order: Order::Unspecified,
        };
        for (key, value) in query {
            let number = || value.parse::<usize>().map_err(|_| unsupported(key, value));
            match key.as_str() {
                "select" => listing.columns = value.split(',').map(|column| column.trim().into()).collect(),
                "limit" => listing.limit = number()?.min(MAX_ROWS),
                "offset" => listing.offset = number()?,
                "order" if value == "file_path" || value == "file_path.asc" => listing.order = Order::Ascending,
                "order" if value == "file_path.desc" => listing.order = Order::Descending,
                "file_path" => match value.split_once('.') {
                    Some(("gt", path)) => listing.after = Some(path.into()),
                    Some(("eq", path)) => listing.only = Some(path.into()),
                    _ => return Err(unsupported(key, value)),
                },
                _ => return Err(unsupported(key, value)),
            }
        }
        match listing.columns.iter().find(|column| !COLUMNS.contains(&column.as_str())) {
            Some(column) => Err(unsupported("select", column)),
            None => Ok(listing),
        }
    }

    /// The same in SQL, for the function's rows named `called`.
    pub fn selection(self) -> RowSelection {
        let after = self.after.iter().map(|path| format!("called.file_path > {}", literal(path)));
        let only = self.only.iter().map(|path| format!("called.file_path = {}", literal(path)));
        let filters: Vec<String> = after.chain(only).collect();
        let filter = if filters.is_empty() { String::new() } else { format!("where {}", filters.join(" and ")) };
        let order = match self.order {
            Order::Unspecified => "",
            Order::Ascending => " order by called.file_path asc",
            Order::Descending => " order by called.file_path desc",
        };
        let clauses = format!("{filter}{order} limit {} offset {}", self.limit, self.offset);
        RowSelection { columns: self.columns, clauses }
    }

    /// The matching live files of a project in memory.
    pub fn rows(&self, memory: &Memory) -> Value {
        let project = memory.read_view();
        let mut rows: Vec<&Row> = project
            .live()
            .filter(|row| self.after.as_ref().is_none_or(|after| row.path > *after))
            .filter(|row| self.only.as_ref().is_none_or(|only| row.path == *only))
            .collect();
        if self.order == Order::Descending {
            rows.reverse();
        }
        let rows = rows.into_iter().skip(self.offset).take(self.limit);
        rows.map(|row| self.columns.iter().map(|name| (name.clone(), column(row, name))).collect::<Map<_, _>>())
            .map(Value::Object)
            .collect()
    }
}

fn column(row: &Row, name: &str) -> Value {
    match name {
        "file_path" => json!(row.path),
        "file_type" => json!(row.file_type),
        "content" => json!(row.text()),
        "content_hash" => json!(row.content_hash),
        "version" => json!(row.version),
        _ => json!(row.updated_at.to_string()),
    }
}

/// `PGRST100` for a query parameter.
fn unsupported(key: &str, value: &str) -> ApiError {
    let message = format!("the local backend does not support {key}={value}");
    ApiError::new(StatusCode::BAD_REQUEST, Code::BadQuery, message)
}
