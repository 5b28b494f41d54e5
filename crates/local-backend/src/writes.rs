//! The write functions of the contract's section 5, for editors.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::memory::{Memory, put};
use crate::objects::asset_name;
use crate::postgrest::ApiError;
use crate::project::{Action, Entry};
use crate::row::{Bulk, FileContent, Row};
use crate::server::App;
use crate::store_error::StoreError;

pub fn upsert(app: &App, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let content = FileContent::Text(arguments.text("p_content")?.into());
    let file_type = arguments.optional_text("p_file_type")?.unwrap_or_default();
    one(app, memory, arguments, put(content, file_type.into()), sender)
}

pub fn delete(app: &App, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    one(app, memory, arguments, Action::Delete, sender)
}

pub fn register_asset(app: &App, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let path = arguments.text("p_file_path")?;
    let (hash, size) = (arguments.text("p_content_hash")?, arguments.number("p_size")?);
    let action = stored(app, path, hash, size, arguments.optional_text("p_file_type")?)?;
    one(app, memory, arguments, action, sender)
}

pub fn bulk_upsert(app: &App, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let entries = arguments.list("files")?.iter().enumerate().map(|(index, value)| {
        entry(app, value).map_err(|mut error| {
            error.message = format!("entry {index}: {}", error.message);
            error.details.get_or_insert_with(|| json!({"entry": index}).to_string());
            error
        })
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(bulk(&memory.many(entries, sender)?))
}

pub fn bulk_delete(memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let paths = arguments.list("file_paths")?.iter().enumerate().map(|(index, path)| {
        let path = path.as_str().ok_or_else(|| ApiError::invalid(format!("entry {index}: no text")))?;
        Ok(Entry { path: path.into(), action: Action::Delete, expected: None })
    });
    let entries = paths.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(bulk(&memory.many(entries, sender)?))
}

fn one(app: &App, memory: &Memory, arguments: &Arguments, action: Action, sender: &str) -> Result<Value, ApiError> {
    let path = arguments.text("p_file_path")?.into();
    let expected = arguments.optional_number("expected_version")?;
    let row = memory.one(Entry { path, action, expected }, sender)?;
    Ok(record(&row, &app.rights.project_id))
}

fn entry(app: &App, value: &Value) -> Result<Entry, ApiError> {
    let fields = value.as_object().ok_or_else(|| ApiError::invalid("no object"))?;
    let fields = Arguments::new(fields.clone());
    let path = fields.text("file_path")?;
    let file_type = fields.optional_text("file_type")?;
    let action = match fields.optional_text("action")? {
        Some("delete") => Action::Delete,
        None | Some("update") => match (fields.optional_text("content")?, fields.optional_text("content_hash")?) {
            (Some(content), _) => put(FileContent::Text(content.into()), file_type.unwrap_or_default().into()),
            (None, Some(hash)) => stored(app, path, hash, fields.number("size")?, file_type)?,
            (None, None) => return Err(ApiError::invalid("neither content nor content_hash")),
        },
        Some(other) => return Err(ApiError::invalid(format!("unknown action {other:?}"))),
    };
    Ok(Entry { path: path.into(), action, expected: fields.optional_number("expected_version")? })
}

/// Content that was uploaded before.
fn stored(app: &App, path: &str, hash: &str, size: u64, file_type: Option<&str>) -> Result<Action, StoreError> {
    let object = app.objects.get(&asset_name(&app.rights.project_id, hash));
    let bytes: Option<Bytes> = object.filter(|bytes| bytes.len() as u64 == size);
    let bytes = bytes.ok_or_else(|| StoreError::NoSuchObject { path: path.into(), hash: hash.into(), size })?;
    let file_type = file_type.unwrap_or_default().into();
    Ok(Action::Put { bytes, hash: Some(hash.into()), file_type, in_storage: true })
}

fn bulk(bulk: &Bulk) -> Value {
    let file = |row: &Row| json!({"file_path": row.path, "version": row.version, "content_hash": row.content_hash});
    json!({"revision": bulk.revision, "files": bulk.files.iter().map(file).collect::<Vec<_>>()})
}

/// A row of `project_files` as PostgREST gives it.
pub fn record(row: &Row, project_id: &str) -> Value {
    json!({
        "id": row.id, "project_id": project_id, "file_path": row.path, "file_type": row.file_type,
        "content": row.text(), "content_hash": row.content_hash, "version": row.version, "revision": row.revision,
        "size": row.size, "encoding": row.encoding(), "is_deleted": row.deleted, "is_current_version": true,
        "last_modified_by": row.sender, "updated_at": row.updated_at.to_string(),
    })
}
