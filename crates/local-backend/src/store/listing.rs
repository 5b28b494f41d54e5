use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::http::postgrest::ApiError;
use crate::postgres::literal;
use crate::store::memory::Memory;

/// Rows that PostgREST gives at most.
const MAX_ROWS: usize = 1000;
const COLUMNS: [&str; 6] = ["file_path", "file_type", "content", "content_hash", "version", "updated_at"];

/// The query of `list_current_files`: the part of PostgREST's language that pages through it and picks single files.
pub struct Listing {
    columns: Vec<String>,
    after: Option<String>,
    only: Option<String>,
    limit: usize,
    offset: usize,
    ordered: bool,
    descending: bool,
}

impl Listing {
    /// Refuses what it does not know rather than answering something else.
    pub fn parse(query: &HashMap<String, String>) -> Result<Listing, ApiError> {
        let mut listing = Listing {
            columns: COLUMNS.map(Into::into).to_vec(),
            after: None,
            only: None,
            limit: MAX_ROWS,
            offset: 0,
            ordered: false,
            descending: false,
        };
        let refused = |key: &str, value: &str| {
            ApiError::new(
                axum::http::StatusCode::BAD_REQUEST,
                "PGRST100",
                format!("not understood by the local backend: {key}={value}"),
            )
        };
        for (key, value) in query {
            let number = || value.parse::<usize>().map_err(|_| refused(key, value));
            match key.as_str() {
                "select" => listing.columns = value.split(',').map(|column| column.trim().into()).collect(),
                "limit" => listing.limit = number()?.min(MAX_ROWS),
                "offset" => listing.offset = number()?,
                "order" if value == "file_path" || value == "file_path.asc" => listing.ordered = true,
                "order" if value == "file_path.desc" => (listing.ordered, listing.descending) = (true, true),
                "file_path" => match value.split_once('.') {
                    Some(("gt", path)) => listing.after = Some(path.into()),
                    Some(("eq", path)) => listing.only = Some(path.into()),
                    _ => return Err(refused(key, value)),
                },
                _ => return Err(refused(key, value)),
            }
        }
        match listing.columns.iter().find(|column| !COLUMNS.contains(&column.as_str())) {
            Some(column) => Err(refused("select", column)),
            None => Ok(listing),
        }
    }

    /// What is to be given of each row.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rest of a `select` from `called` that picks, orders and cuts its rows.
    pub fn sql(&self) -> String {
        let mut sql = String::new();
        let filters = [(">", &self.after), ("=", &self.only)];
        for (index, (operator, path)) in filters.iter().filter_map(|(o, path)| Some((o, path.as_ref()?))).enumerate() {
            let word = if index == 0 { "where" } else { " and" };
            sql.push_str(&format!("{word} called.file_path {operator} {}", literal(path)));
        }
        let direction = if self.descending { "desc" } else { "asc" };
        let order = if self.ordered { format!(" order by called.file_path {direction}") } else { String::new() };
        format!("{sql}{order} limit {} offset {}", self.limit, self.offset)
    }

    /// The live files that match.
    pub fn rows(&self, memory: &Memory) -> Value {
        let project = memory.project();
        let mut rows: Vec<_> = project
            .live()
            .filter(|row| self.after.as_ref().is_none_or(|after| row.path > *after))
            .filter(|row| self.only.as_ref().is_none_or(|only| row.path == *only))
            .collect();
        if self.descending {
            rows.reverse();
        }
        let rows = rows.into_iter().skip(self.offset).take(self.limit).map(|row| {
            let column = |name: &String| {
                let value = match name.as_str() {
                    "file_path" => json!(row.path),
                    "file_type" => json!(row.file_type),
                    "content" => json!(row.text()),
                    "content_hash" => json!(row.content_hash),
                    "version" => json!(row.version),
                    _ => json!(row.updated_at.to_string()),
                };
                (name.clone(), value)
            };
            Value::Object(self.columns.iter().map(column).collect::<Map<_, _>>())
        });
        Value::Array(rows.collect())
    }
}
