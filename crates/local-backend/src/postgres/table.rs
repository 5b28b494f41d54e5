//! What the mirror, the seed and the snapshots do with the table: no caller of the API, the backend's own doing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::Row as SqlRow;

use super::connections::Connection;
use super::error::store_error;
use super::{Postgres, Shared};
use crate::digest::content_hash;
use crate::object_name::{ASSETS, asset_name};
use crate::row::{Bulk, BulkEntry, FileContent, Head, ProjectState, Row};
use crate::store_error::StoreError;

const COLUMNS: &str = "id::text, file_path, file_type, version, revision, content_hash, coalesce(size, 0), content,
    encoding, is_deleted, coalesce(last_modified_by::text, ''),
    to_char(coalesce(updated_at, now()) at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
    parent_version_id::text, coalesce(created_by::text, '')";

impl Postgres {
    /// Saves or deletes one file with the rights of the service; the event names `sender`.
    pub fn save(&self, entry: BulkEntry, sender: &str) -> Result<Row, StoreError> {
        let (shared, sender, path) = (self.shared(), sender.to_owned(), entry.path.clone());
        self.wait(async move { shared.save(entry, &sender).await })??.ok_or(StoreError::FileNotFound { path })
    }

    /// Saves and deletes up to 10,000 files in one revision.
    pub fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        let (shared, sender) = (self.shared(), sender.to_owned());
        self.wait(async move { shared.bulk(entries, &sender).await })?
    }

    /// Head revision and live files in one snapshot of the data.
    pub fn state(&self) -> Result<ProjectState, StoreError> {
        let shared = self.shared();
        self.wait(async move { shared.state().await })?
    }

    /// The newest row of a path.
    pub fn newest(&self, path: &str) -> Result<Option<Row>, StoreError> {
        let (shared, path) = (self.shared(), path.to_owned());
        self.wait(async move { shared.newest(&path).await })?
    }

    /// Head revision and stored digest.
    pub fn head(&self) -> Result<Head, StoreError> {
        let shared = self.shared();
        self.wait(async move {
            let head = shared.as_service("backend", "select public.project_head($1::text::uuid)::text", &[]).await?;
            let head: Value = serde_json::from_str(&head).unwrap_or_default();
            Ok(Head {
                revision: count(&head, "head_revision"),
                digest: text(&head, "digest").unwrap_or_default().to_owned(),
            })
        })?
    }
}

impl Shared {
    async fn save(&self, entry: BulkEntry, sender: &str) -> Result<Option<Row>, StoreError> {
        let path = entry.path.clone();
        let expected = json!(entry.expected_version).to_string();
        match entry.content {
            Some(FileContent::Text(text)) if !text.contains('\0') => {
                let sql = "select id::text from public.upsert_project_file($1::text::uuid, $2, $3, null, \
                           nullif($4, 'null')::integer)";
                self.as_service(sender, sql, &[&path, &text, &expected]).await?;
            }
            None => {
                let sql =
                    "select id::text from public.delete_project_file($1::text::uuid, $2, nullif($3, 'null')::integer)";
                self.as_service(sender, sql, &[&path, &expected]).await?;
            }
            Some(content) => {
                let bytes = bytes_of(content);
                let (hash, size) = (self.store_asset(bytes.clone()).await?, bytes.len().to_string());
                let sql = "select id::text from public.register_project_asset($1::text::uuid, $2, null, $3, $4::bigint, \
                           nullif($5, 'null')::integer)";
                self.as_service(sender, sql, &[&path, &hash, &size, &expected]).await?;
            }
        }
        self.newest(&path).await
    }

    pub async fn bulk(&self, entries: Vec<BulkEntry>, sender: &str) -> Result<Bulk, StoreError> {
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let (path, expected) = (entry.path, entry.expected_version);
            files.push(match entry.content {
                None => json!({"file_path": path, "expected_version": expected, "action": "delete"}),
                Some(FileContent::Text(text)) if !text.contains('\0') => {
                    json!({"file_path": path, "expected_version": expected, "content": text})
                }
                Some(content) => {
                    let bytes = bytes_of(content);
                    let size = bytes.len();
                    let hash = self.store_asset(bytes).await?;
                    json!({"file_path": path, "expected_version": expected, "size": size, "content_hash": hash})
                }
            });
        }
        let files = Value::Array(files).to_string();
        let sql = "select public.bulk_upsert_project_files($1::text::uuid, $2::text::jsonb)::text";
        let saved: Value = serde_json::from_str(&self.as_service(sender, sql, &[&files]).await?).unwrap_or_default();
        let revision = count(&saved, "revision");
        let files = saved.get("files").and_then(Value::as_array).into_iter().flatten().map(|file| Row {
            id: String::new(),
            parent_id: None,
            path: text(file, "file_path").unwrap_or_default().into(),
            file_type: String::new(),
            version: count(file, "version"),
            revision,
            content_hash: text(file, "content_hash").map(Into::into),
            size: 0,
            bytes: None,
            in_storage: false,
            deleted: text(file, "content_hash").is_none(),
            sender: sender.into(),
            creator: String::new(),
            updated_at: Timestamp::now(),
        });
        Ok(Bulk { revision, files: files.collect() })
    }

    /// Head revision and live files in one snapshot of the data.
    pub async fn state(&self) -> Result<ProjectState, StoreError> {
        let sql = format!(
            "select {COLUMNS}, coalesce((select max(c.revision) from project_sync.counters c where c.project_id = p.project), 0)
             from (select $1::text::uuid as project) p left join public.project_files f
                on f.project_id = p.project and f.is_current_version and not f.is_deleted order by f.file_path"
        );
        let rows = self.query(&sql, &[&self.project_id]).await?;
        let head = rows.first().map_or(0, |row| number(row.get(14)));
        let mut files = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| row.get::<_, Option<&str>>(0).is_some()) {
            files.push(self.file(row).await);
        }
        Ok(ProjectState { revision: head, files })
    }

    /// The newest row of a path.
    pub async fn newest(&self, path: &str) -> Result<Option<Row>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from public.project_files where project_id = $1::text::uuid and file_path = $2
             order by version desc limit 1"
        );
        let rows = self.query(&sql, &[&self.project_id, path]).await?;
        Ok(match rows.first() {
            Some(row) => Some(self.file(row).await),
            None => None,
        })
    }

    /// The newest rows above a revision, in the order of revisions.
    pub async fn newer(&self, known: u64) -> Result<Vec<Row>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from public.project_files where project_id = $1::text::uuid and is_current_version
                and revision > $2::text::bigint order by revision, file_path"
        );
        let rows = self.query(&sql, &[&self.project_id, &known.to_string()]).await?;
        let mut files = Vec::with_capacity(rows.len());
        for row in &rows {
            files.push(self.file(row).await);
        }
        Ok(files)
    }

    /// The bytes of one row, by its id.
    pub async fn bytes_of(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        let sql = format!("select {COLUMNS} from public.project_files where id = $1::text::uuid");
        let rows = self.query(&sql, &[id]).await?;
        Ok(match rows.first() {
            Some(row) => self.file(row).await.bytes,
            None => None,
        })
    }

    async fn file(&self, row: &SqlRow) -> Row {
        let (hash, content, encoding): (Option<String>, Option<String>, &str) = (row.get(5), row.get(7), row.get(8));
        let deleted: bool = row.get(9);
        let in_storage = !deleted && content.is_none();
        let bytes = match (content, &hash) {
            (Some(content), _) if encoding == "base64" => BASE64_STANDARD.decode(content).ok().map(Into::into),
            (Some(content), _) => Some(Bytes::from(content)),
            (None, Some(hash)) if in_storage => {
                self.object(&asset_name(&self.project_id, hash)).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot read a file's content from storage");
                    None
                })
            }
            (None, _) => None,
        };
        Row {
            id: row.get(0),
            parent_id: row.get(12),
            path: row.get(1),
            file_type: row.get(2),
            version: number(row.get::<_, i32>(3).into()),
            revision: number(row.get(4)),
            content_hash: hash,
            size: number(row.get(6)),
            bytes,
            in_storage,
            deleted,
            sender: row.get(10),
            creator: row.get(13),
            updated_at: row.get::<_, &str>(11).parse().unwrap_or_default(),
        }
    }

    /// Stores bytes in `project-assets` under their hash. Returns the hash.
    async fn store_asset(&self, bytes: Bytes) -> Result<String, StoreError> {
        let hash = content_hash(&bytes);
        self.keep_object(ASSETS, &format!("{}/{hash}", self.project_id), &bytes).await?;
        Ok(hash)
    }

    /// Runs one statement of the backend itself, with text parameters.
    pub async fn query(&self, sql: &str, parameters: &[&str]) -> Result<Vec<SqlRow>, StoreError> {
        let run = async {
            let mut connection = self.own.take().await?;
            let rows = query(&mut connection, sql, parameters).await?;
            connection.give_back();
            Ok(rows)
        };
        run.await.map_err(|error| store_error(&error))
    }

    /// Runs one statement as the service, with `sender` in its claims; `$1` is the project. Returns its one text.
    async fn as_service(&self, sender: &str, sql: &str, parameters: &[&str]) -> Result<String, StoreError> {
        let claims = json!({"role": "service_role", "sub": sender}).to_string();
        let parameters: Vec<&str> =
            std::iter::once(self.project_id.as_str()).chain(parameters.iter().copied()).collect();
        let run = async {
            let mut connection = self.own.take().await?;
            connection.client().batch_execute("begin").await?;
            let set = "select set_config('role', 'service_role', true), set_config('request.jwt.claims', $1, true)";
            let outcome = match query(&mut connection, set, &[&claims]).await {
                Ok(_) => query(&mut connection, sql, &parameters).await,
                Err(error) => Err(error),
            };
            let ended = connection.client().batch_execute(if outcome.is_ok() { "commit" } else { "rollback" }).await;
            if ended.is_ok() {
                connection.give_back();
            }
            ended.and(outcome)
        };
        // Prefer the error of the statement to that of the rollback after it.
        let rows = run.await.map_err(|error| store_error(&error))?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_default())
    }
}

async fn query(
    connection: &mut Connection<'_>,
    sql: &str,
    parameters: &[&str],
) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
    let types = vec![tokio_postgres::types::Type::TEXT; parameters.len()];
    let statement = connection.prepare(sql, &types).await?;
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = parameters.iter().map(|text| text as _).collect();
    connection.client().query(&statement, &parameters).await
}

fn bytes_of(content: FileContent) -> Bytes {
    match content {
        FileContent::Text(text) => text.into(),
        FileContent::Binary(bytes) => bytes.into(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Counts of the database are never negative.
fn number(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}
