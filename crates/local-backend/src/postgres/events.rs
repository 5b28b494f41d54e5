use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_postgres::types::Type;

use super::Shared;
use super::pgoutput::{Cell, Column, Decoder, Message, Table};
use super::stream::Stream;
use super::topics::Extension;
use crate::faults::Faults;
use crate::object_name::asset_name;
use crate::realtime::{Changes, Hub, Visibility};
use crate::row::{Change, ChangedFile};
use crate::store_error::StoreError;

/// The decoded publications: Realtime's own one of its table, and the one of `postgres_changes`.
pub const PUBLICATIONS: [&str; 2] = ["supabase_realtime_messages_publication", "supabase_realtime"];
/// The pause before a lost stream is started again.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// A row that is not visible after this time was deleted again.
const VISIBLE_WITHIN: Duration = Duration::from_millis(500);

/// Sends the contents of committed transactions to the channels. It must not hold a [`super::Postgres`]: the thread would
/// never end.
pub struct Events {
    pub shared: Arc<Shared>,
    pub hub: Arc<Hub>,
    pub subscribers: Arc<Changes>,
    pub faults: Faults,
}

/// Whether a row was inserted or updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
}

/// One row of a transaction that is used here.
enum CommittedRow {
    Broadcast { id: String, payload: String, event: String, topic: String, visibility: Visibility },
    File { table: Arc<Table>, row: Vec<Cell>, operation: Operation },
}

impl Events {
    /// Runs until the task is dropped. Channels miss the events of commits while the stream is down, as on the real server;
    /// subscribers of the table get them later.
    pub async fn run(self, mut stream: Stream) {
        loop {
            if let Err(error) = self.follow(stream).await {
                tracing::warn!(%error, "the stream of events was lost; starting it again");
            }
            stream = loop {
                tokio::time::sleep(RESTART_DELAY).await;
                match self.shared.stream().await {
                    Ok(stream) => break stream,
                    Err(error) => tracing::debug!(%error, "cannot start the stream of events; trying again"),
                }
            };
            self.send_missed_changes().await;
        }
    }

    async fn follow(&self, mut stream: Stream) -> std::io::Result<()> {
        let mut decoder = Decoder::default();
        let mut transaction = Vec::new();
        loop {
            match decoder.decode(stream.next().await?).map_err(std::io::Error::other)? {
                Message::Begin => transaction.clear(),
                Message::Insert { table, row } => transaction.extend(committed_row(table, row, Operation::Insert)),
                Message::Update { table, row } => transaction.extend(committed_row(table, row, Operation::Update)),
                Message::Commit { at } => self.committed(std::mem::take(&mut transaction), at).await,
                Message::Other => {}
            }
        }
    }

    async fn committed(&self, transaction: Vec<CommittedRow>, at: i64) {
        let at = Timestamp::from_microsecond(at).unwrap_or_default();
        let mut files = Vec::new();
        for row in transaction {
            match row {
                CommittedRow::Broadcast { id, mut payload, event, topic, visibility } => {
                    if self.faults.roll(|all, _| all.legacy_database) {
                        payload = without_revision(payload);
                    }
                    self.hub.sent(id, payload, &event, &topic, visibility);
                }
                CommittedRow::File { table, row, operation } => {
                    if operation == Operation::Insert && !self.faults.roll(|all, _| all.stall_streams) {
                        self.row_inserted(&table, &row, at).await;
                    }
                    files.push((table, row));
                }
            }
        }
        self.send_change(files).await;
    }

    /// `postgres_changes`: sends the row to each subscriber that may read it.
    async fn row_inserted(&self, table: &Table, row: &[Cell], at: Timestamp) {
        let callers = self.subscribers.callers();
        let id = table.text(row, "id").unwrap_or_default();
        if callers.is_empty() {
            return;
        }
        self.until_visible(id).await;
        let mut readers = Vec::new();
        for (subscriber, claims) in callers {
            if self.shared.may_read_row(&claims, id).await {
                readers.push(subscriber);
            }
        }
        if !readers.is_empty() {
            let columns = table.columns.iter().zip(row).filter_map(|(column, cell)| match cell {
                Cell::Null => Some((column.name.clone(), Value::Null)),
                Cell::Text(text) => Some((column.name.clone(), column_value(text, column))),
                Cell::Unchanged => None,
            });
            let record: Map<String, Value> = columns.collect();
            self.subscribers.inserted_for(Some(&readers), &at.to_string(), || record.into());
        }
    }

    /// Waits until the row is visible: logical decoding sees a commit a little before other sessions do.
    async fn until_visible(&self, row: &str) {
        let sql = "select from public.project_files where id = $1::text::uuid";
        let started = Instant::now();
        while self.shared.query(sql, &[row]).await.is_ok_and(|rows| rows.is_empty())
            && started.elapsed() < VISIBLE_WITHIN
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends the project's current rows of the transaction to the subscribers of the table, as one change.
    async fn send_change(&self, rows: Vec<(Arc<Table>, Vec<Cell>)>) {
        if self.shared.changes.receiver_count() == 0 {
            return;
        }
        let mut change: Option<Change> = None;
        for (table, row) in rows {
            let text = |name: &str| table.text(&row, name);
            let current_of_project =
                text("project_id") == Some(&self.shared.project_id) && text("is_current_version") == Some("t");
            let (Some(path), Some(version), Some(revision)) = (text("file_path"), text("version"), text("revision"))
            else {
                continue;
            };
            let (Ok(version), Ok(revision), true) = (version.parse(), revision.parse(), current_of_project) else {
                continue;
            };
            let deleted = text("is_deleted") == Some("t");
            let file = ChangedFile {
                path: path.into(),
                version,
                content_hash: text("content_hash").map(Into::into),
                bytes: if deleted { None } else { self.bytes(&table, &row).await },
                deleted,
            };
            let sender = text("last_modified_by").unwrap_or("the database").to_owned();
            change.get_or_insert_with(|| Change { revision, sender, files: Vec::new() }).files.push(file);
        }
        if let Some(change) = change {
            self.shared.known.store(change.revision, std::sync::atomic::Ordering::Relaxed);
            // An error says that there is no subscriber.
            let _receivers = self.shared.changes.send(change);
        }
    }

    async fn bytes(&self, table: &Table, row: &[Cell]) -> Option<Bytes> {
        match (table.cell(row, "content")?, table.text(row, "encoding")) {
            (Cell::Text(content), Some("base64")) => BASE64_STANDARD.decode(content).ok().map(Into::into),
            (Cell::Text(content), _) => Some(Bytes::from(content.clone())),
            (Cell::Null, _) => {
                let name = asset_name(&self.shared.project_id, table.text(row, "content_hash")?);
                self.shared.object(&name).await.unwrap_or_else(log_unread)
            }
            (Cell::Unchanged, _) => self.shared.bytes_of(table.text(row, "id")?).await.unwrap_or_else(log_unread),
        }
    }

    /// Sends the changes that were committed while the stream was down.
    async fn send_missed_changes(&self) {
        let known = self.shared.known.load(std::sync::atomic::Ordering::Relaxed);
        let rows = match self.shared.newer(known).await {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!(%error, "cannot read the changes since the stream was lost"),
        };
        for row in rows {
            let change = Change { revision: row.revision, sender: row.sender.clone(), files: vec![(&row).into()] };
            self.shared.known.store(row.revision, std::sync::atomic::Ordering::Relaxed);
            let _receivers = self.shared.changes.send(change);
        }
    }
}

fn log_unread(error: StoreError) -> Option<Bytes> {
    tracing::warn!(%error, "cannot read a file's content");
    None
}

fn committed_row(table: Arc<Table>, row: Vec<Cell>, operation: Operation) -> Option<CommittedRow> {
    let text = |name: &str| table.text(&row, name).map(str::to_owned);
    match (table.schema.as_str(), table.name.as_str()) {
        ("public", "project_files") => Some(CommittedRow::File { table, row, operation }),
        // On the hosted service the table has a partition for each day.
        ("realtime", name)
            if operation == Operation::Insert
                && name.starts_with("messages")
                && text("extension")? == Extension::Broadcast.as_str() =>
        {
            Some(CommittedRow::Broadcast {
                id: text("id")?,
                payload: text("payload")?,
                event: text("event")?,
                topic: text("topic")?,
                visibility: match text("private").as_deref() {
                    Some("t") => Visibility::Private,
                    _ => Visibility::Public,
                },
            })
        }
        _ => None,
    }
}

/// The JSON of a column's text.
fn column_value(text: &str, column: &Column) -> Value {
    let parsed = || serde_json::from_str(text).unwrap_or_else(|_| text.into());
    match Type::from_oid(column.type_oid) {
        Some(Type::BOOL) => (text == "t").into(),
        Some(Type::INT2 | Type::INT4 | Type::INT8 | Type::JSON | Type::JSONB) => parsed(),
        // `2026-11-21 07:00:00.5+00`, as the stream's connection is set.
        Some(Type::TIMESTAMPTZ) => text.replacen(' ', "T", 1).replacen("+00", "+00:00", 1).into(),
        _ => text.into(),
    }
}

/// The payload of an event of a legacy database.
fn without_revision(payload: String) -> String {
    match serde_json::from_str::<Value>(&payload) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("revision");
            json!(fields).to_string()
        }
        _ => payload,
    }
}
