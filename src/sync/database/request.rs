use serde_json::{Value, json};
use sync_core::{ContentHash, Read};

/// Rows in one page of `list_current_files`: PostgREST's default limit.
const PAGE_ROWS: u32 = 1000;

/// What a read asks the server for.
pub(super) enum Request {
    Function(FunctionCall),
    /// An object of storage, by the hash of its content; `size` in bytes, where known.
    Object {
        hash: ContentHash,
        size: Option<u64>,
    },
}

/// A call of a function through PostgREST.
pub(super) struct FunctionCall {
    pub(super) name: &'static str,
    /// Query parameters. PostgREST takes each of them as a filter of the rows, and what follows `eq.` or `gt.` literally to
    /// its end, so nothing in it is quoted.
    pub(super) filters: Vec<(&'static str, String)>,
    pub(super) arguments: Value,
}

impl Request {
    pub(super) fn new(read: Read, project_id: &str) -> Request {
        let call = |name, filters, arguments| Request::Function(FunctionCall { name, filters, arguments });
        let only_project = || json!({ "project_uuid": project_id });
        match read {
            Read::Changes { since, max_rows, with_content } => {
                let arguments = json!({
                    "project_uuid": project_id, "since_revision": since, "max_rows": max_rows,
                    "with_content": with_content,
                });
                call("list_project_changes", Vec::new(), arguments)
            }
            Read::File { path, version } => {
                let arguments = json!({"project_uuid": project_id, "p_file_path": path, "p_version": version});
                call("get_project_file", Vec::new(), arguments)
            }
            Read::CurrentFiles { after } => {
                let mut filters = vec![
                    ("select", "file_path,file_type,content_hash,version,updated_at".to_owned()),
                    ("order", "file_path".to_owned()),
                    ("limit", PAGE_ROWS.to_string()),
                ];
                if !after.is_empty() {
                    filters.push(("file_path", format!("gt.{after}")));
                }
                call("list_current_files", filters, only_project())
            }
            Read::CurrentFile { path } => {
                let filters = vec![
                    ("select", "file_path,file_type,content,content_hash,version,updated_at".to_owned()),
                    ("file_path", format!("eq.{path}")),
                    ("limit", "1".to_owned()),
                ];
                call("list_current_files", filters, only_project())
            }
            Read::Head => call("project_head", Vec::new(), only_project()),
            Read::Asset { hash, size } => Request::Object { hash, size },
        }
    }
}
