//! The write functions of the contract's section 5, for editors.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::arguments::Arguments;
use crate::http::postgrest::ApiError;
use crate::http::server::App;
use crate::row::{Bulk, FileContent, Row};
use crate::store::memory::{Memory, put};
use crate::store::objects::asset_name;
use crate::store::project::{Action, Entry};
use crate::store::rights::Rights;
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
    let file_type = arguments.optional_text("p_file_type")?.filter(|file_type| !file_type.is_empty());
    let action = stored(app, path, hash, size, Some(file_type.unwrap_or("binary")))?;
    one(app, memory, arguments, action, sender)
}

pub fn bulk_upsert(app: &App, memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let entries = arguments
        .list("files")?
        .iter()
        .enumerate()
        .map(|(index, value)| entry(app, value).map_err(|error| named(index, &value["file_path"], error)));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(bulk(&memory.many(entries, sender)?))
}

pub fn bulk_delete(memory: &Memory, arguments: &Arguments, sender: &str) -> Result<Value, ApiError> {
    let paths = arguments.list("file_paths")?.iter().enumerate().map(|(index, path)| {
        let path = path.as_str().ok_or_else(|| named(index, path, ApiError::invalid("no text")))?;
        Ok(Entry { path: path.into(), action: Action::Delete, expected: None })
    });
    let entries = paths.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(bulk(&memory.many(entries, sender)?))
}

fn one(app: &App, memory: &Memory, arguments: &Arguments, action: Action, sender: &str) -> Result<Value, ApiError> {
    let path = arguments.text("p_file_path")?.into();
    let expected = arguments.optional_number("expected_version")?;
    let row = memory.one(Entry { path, action, expected }, sender)?;
    Ok(record(&row, &app.rights))
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

/// A refusal of one entry of a bulk.
fn named(index: usize, path: &Value, mut error: ApiError) -> ApiError {
    if error.code.as_deref() == Some("22P05") {
        // The database reads the list before it looks at any entry.
        return error;
    }
    error.message = format!("entry {index} ({path}): {}", error.message);
    error.details = Some(json!({"entry": index, "file_path": path}).to_string());
    error
}

/// Content that was uploaded before.
fn stored(app: &App, path: &str, hash: &str, size: u64, file_type: Option<&str>) -> Result<Action, StoreError> {
    let hash = &hash.to_lowercase();
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

/// A row of `project_files` as PostgREST gives it: of who wrote it only people are named, and a file that no person
/// made is its owner's.
pub fn record(row: &Row, rights: &Rights) -> Value {
    let project_id = &rights.project_id;
    let person = |name: &str| uuid::Uuid::parse_str(name).ok().map(|_| name.to_owned());
    let created_by = person(&row.creator).unwrap_or_else(|| rights.editor.clone());
    json!({
        "id": row.id, "parent_version_id": row.parent_id, "created_by": created_by, "superseded_revision": null, "project_id": project_id, "file_path": row.path, "file_type": row.file_type,
        "content": row.text(), "content_hash": row.content_hash, "version": row.version, "revision": row.revision,
        "size": row.size, "encoding": row.encoding(), "is_deleted": row.deleted, "is_current_version": true,
        "last_modified_by": person(&row.sender), "created_at": row.updated_at.to_string(),
        "updated_at": row.updated_at.to_string(),
    })
}
