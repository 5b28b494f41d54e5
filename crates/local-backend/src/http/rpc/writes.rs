//! The write functions of the contract's section 5.

use bytes::Bytes;
use serde_json::{Value, json};

use super::arguments::Arguments;
use crate::code::Code;
use crate::http::postgrest::ApiError;
use crate::http::state::Api;
use crate::object_name::asset_name;
use crate::row::{Bulk, FileContent, Row};
use crate::store::memory::{Memory, put};
use crate::store::project::{Action, Entry};
use crate::store::record::record;
use crate::store_error::StoreError;

pub fn upsert(api: &Api, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let content = FileContent::Text(arguments.text("p_content")?.into());
    let file_type = arguments.optional_text("p_file_type")?.unwrap_or_default();
    one(api, memory, arguments, put(content, file_type.into()), sender)
}

pub fn delete(api: &Api, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    one(api, memory, arguments, Action::Delete, sender)
}

pub fn register_asset(api: &Api, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let path = arguments.text("p_file_path")?;
    let (hash, size) = (arguments.text("p_content_hash")?, arguments.number("p_size")?);
    let file_type = arguments.optional_text("p_file_type")?.filter(|file_type| !file_type.is_empty());
    let action = stored(api, path, hash, size, Some(file_type.unwrap_or("binary")))?;
    one(api, memory, arguments, action, sender)
}

pub fn bulk_upsert(api: &Api, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let entries = arguments
        .list("files")?
        .iter()
        .enumerate()
        .map(|(index, value)| entry(api, value).map_err(|error| of_entry(index, value.get("file_path"), error)));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(bulk(&memory.write_bulk(entries, sender)?))
}

pub fn bulk_delete(memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let paths = arguments.list("file_paths")?.iter().enumerate().map(|(index, path)| {
        let path = path.as_str().ok_or_else(|| of_entry(index, Some(path), ApiError::invalid("not a text")))?;
        Ok(Entry { path: path.into(), action: Action::Delete, expected: None })
    });
    let entries = paths.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(bulk(&memory.write_bulk(entries, sender)?))
}

fn one(api: &Api, memory: &Memory, arguments: &Arguments, action: Action, sender: &str) -> Result<Value, ApiError> {
    let path = arguments.text("p_file_path")?.into();
    let expected = arguments.optional_number("expected_version")?;
    let row = memory.write_one(Entry { path, action, expected }, sender)?;
    Ok(record(&row, &api.rights))
}

fn entry(api: &Api, value: &Value) -> Result<Entry, ApiError> {
    let fields = value.as_object().ok_or_else(|| ApiError::invalid("not an object"))?;
    let fields = Arguments::new(fields.clone());
    let path = fields.text("file_path")?;
    let file_type = fields.optional_text("file_type")?;
    let action = match fields.optional_text("action")? {
        Some("delete") => Action::Delete,
        None | Some("update") => match (fields.optional_text("content")?, fields.optional_text("content_hash")?) {
            (Some(content), _) => put(FileContent::Text(content.into()), file_type.unwrap_or_default().into()),
            (None, Some(hash)) => stored(api, path, hash, fields.number("size")?, file_type)?,
            (None, None) => return Err(ApiError::invalid("neither content nor content_hash")),
        },
        Some(other) => return Err(ApiError::invalid(format!("unknown action {other:?}"))),
    };
    Ok(Entry { path: path.into(), action, expected: fields.optional_number("expected_version")? })
}

/// The refusal of a bulk for one of its entries.
fn of_entry(index: usize, path: Option<&Value>, mut error: ApiError) -> ApiError {
    if error.code.as_deref() == Some(Code::NulInText.as_str()) {
        // The database parses the list before it checks any entry.
        return error;
    }
    let path = path.unwrap_or(&Value::Null);
    error.message = format!("entry {index} ({path}): {}", error.message);
    error.details = Some(json!({"entry": index, "file_path": path}).to_string());
    error
}

/// A write of content that is in storage already.
fn stored(api: &Api, path: &str, hash: &str, size: u64, file_type: Option<&str>) -> Result<Action, StoreError> {
    let hash = &hash.to_lowercase();
    let object = api.objects.get(&asset_name(api.rights.project_id(), hash));
    let bytes: Option<Bytes> = object.filter(|bytes| bytes.len() as u64 == size);
    let bytes = bytes.ok_or_else(|| StoreError::ObjectNotFound { path: path.into(), hash: hash.into(), size })?;
    let file_type = file_type.unwrap_or_default().into();
    Ok(Action::Put { bytes, hash: Some(hash.into()), file_type, in_storage: true })
}

fn bulk(bulk: &Bulk) -> Value {
    let file = |row: &Row| json!({"file_path": row.path, "version": row.version, "content_hash": row.content_hash});
    json!({"revision": bulk.revision, "files": bulk.files.iter().map(file).collect::<Vec<_>>()})
}
