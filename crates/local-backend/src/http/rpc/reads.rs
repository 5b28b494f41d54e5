//! The read functions of the contract's section 5. Each answers from one state of the table.

use serde_json::{Value, json};

use super::arguments::Arguments;
use crate::http::postgrest::ApiError;
use crate::http::state::Api;
use crate::row::Row;
use crate::store::memory::Memory;
use crate::store_error::StoreError;

/// Rows of a page by default.
const DEFAULT_ROWS: u64 = 500;
/// Most rows of a page; one revision may have more.
const MAX_ROWS: u64 = 10_000;

/// `{head_revision, digest, complete, reset?, files}`. A page ends at the first revision boundary at which it is full, by
/// rows or by bytes. Content is omitted only within one revision that is larger than a page.
pub fn list_project_changes(api: &Api, memory: &Memory, arguments: &Arguments) -> Result<Value, ApiError> {
    let since = arguments.optional_number("since_revision")?.unwrap_or(0);
    let asked = arguments.optional_number("max_rows")?.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
    let with_content = arguments.flag("with_content", true)?;
    let max_rows = api.faults.roll(|all, _| all.page_rows).map_or(asked, |rows| u64::from(rows.max(1)));
    let max_rows = usize::try_from(max_rows).unwrap_or(usize::MAX);
    let page_bytes = api.settings.page_bytes as u64;

    let project = memory.read_view();
    let head = project.head();
    if since > head || (since > 0 && since < project.tombstone_floor()) {
        let files: Vec<Value> = project.newer(0).filter(|row| !row.deleted).map(|row| change(row, false)).collect();
        return Ok(json!({
            "head_revision": head, "digest": project.digest().to_string(), "complete": true, "reset": true,
            "files": files,
        }));
    }
    let mut files = Vec::new();
    let mut bytes = 0_u64;
    let mut rows = project.newer(since).peekable();
    let mut complete = true;
    while let Some(first) = rows.peek() {
        if files.len() >= max_rows || bytes >= page_bytes {
            complete = false;
            break;
        }
        let revision = first.revision;
        let mut of_revision = 0_u64;
        while let Some(row) = rows.next_if(|row| row.revision == revision) {
            let size = if with_content && !row.in_storage { row.size } else { 0 };
            let total = of_revision.saturating_add(size);
            let fits = total <= page_bytes;
            if fits {
                of_revision = total;
            }
            files.push(change(row, with_content && fits));
        }
        bytes = bytes.saturating_add(of_revision);
    }
    Ok(json!({
        "head_revision": head, "digest": project.digest().to_string(), "complete": complete, "files": files,
    }))
}

/// `{head_revision, digest}`.
pub fn project_head(memory: &Memory) -> Value {
    let head = memory.read_view().head_and_digest();
    json!({"head_revision": head.revision, "digest": head.digest})
}

/// One version of one file, whatever its size.
pub fn get_project_file(memory: &Memory, arguments: &Arguments) -> Result<Value, ApiError> {
    let (path, version) = (arguments.text("p_file_path")?, arguments.number("p_version")?);
    let project = memory.read_view();
    let row =
        project.version(path, version).ok_or_else(|| StoreError::VersionNotFound { path: path.into(), version })?;
    Ok(json!({
        "file_path": row.path, "version": row.version, "content": row.text(), "encoding": row.encoding(),
        "content_hash": row.content_hash, "size": row.size,
    }))
}

/// The feature flags. Those of the functions, events, snapshots and bulks are on; broadcasts of clients are off.
pub fn is_feature_enabled(arguments: &Arguments) -> Result<Value, ApiError> {
    let on = ["FSYNC_USE_RPC", "FSYNC_SERVER_BROADCASTS", "FSYNC_SNAPSHOT_HYDRATION", "FSYNC_BULK_GENERATION"];
    Ok(json!(on.contains(&arguments.text("flag_key")?)))
}

fn change(row: &Row, with_content: bool) -> Value {
    let content = row.text().filter(|_| with_content);
    json!({
        "file_path": row.path, "version": row.version, "revision": row.revision, "content_hash": row.content_hash,
        "size": row.size, "encoding": row.encoding(), "content": content,
        "content_omitted": !row.deleted && content.is_none(), "is_deleted": row.deleted,
    })
}
