use serde_json::{Value, json};
use uuid::Uuid;

use super::rights::Rights;
use crate::row::Row;

/// A row of `project_files` as PostgREST returns it. `last_modified_by` names only users; `created_by` is the project's owner
/// where no user created the file.
pub fn record(row: &Row, rights: &Rights) -> Value {
    let user = |name: &str| Uuid::parse_str(name).ok().map(|_| name.to_owned());
    let created_by = user(&row.creator).unwrap_or_else(|| rights.editor().to_owned());
    json!({
        "id": row.id, "parent_version_id": row.parent_id, "created_by": created_by, "superseded_revision": null,
        "project_id": rights.project_id(), "file_path": row.path, "file_type": row.file_type, "content": row.text(),
        "content_hash": row.content_hash, "version": row.version, "revision": row.revision, "size": row.size,
        "encoding": row.encoding(), "is_deleted": row.deleted, "is_current_version": true,
        "last_modified_by": user(&row.sender), "created_at": row.updated_at.to_string(),
        "updated_at": row.updated_at.to_string(),
    })
}
