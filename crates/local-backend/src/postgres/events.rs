use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_postgres::types::Type;

use super::Shared;
use super::pgoutput::{Cell, Decoder, Message, Table};
use super::stream::Stream;
use crate::faults::Faults;
use crate::realtime::{Changes, Hub};
use crate::row::{Change, ChangedFile};
use crate::store::objects::asset_name;
use crate::store_error::StoreError;

/// What is decoded: Realtime's own publication of its table, and the one of `postgres_changes`.
pub const PUBLICATIONS: [&str; 2] = ["supabase_realtime_messages_publication", "supabase_realtime"];
/// How long after the stream broke it is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// A row that is not to be seen after this was deleted again.
const VISIBLE_WITHIN: Duration = Duration::from_millis(500);

/// What committed transactions say, brought to the channels. It holds nothing that holds the handle on its own thread:
/// that would never end.
pub struct Events {
    pub shared: Arc<Shared>,
    pub hub: Arc<Hub>,
    pub subscribers: Arc<Changes>,
    pub faults: Faults,
}

/// One row of a transaction that is of interest here.
enum Happened {
    Broadcast { id: String, payload: String, event: String, topic: String, private: bool },
    File { table: Arc<Table>, row: Vec<Cell>, inserted: bool },
}

impl Events {
    /// Until the task is dropped. Events committed while the stream is down are lost to the channels, as they are on the
    /// real server; who follows the table is told what it missed.
    pub async fn run(self, mut stream: Stream) {
        loop {
            if let Err(error) = self.follow(stream).await {
                tracing::warn!(%error, "the stream of events broke: starting it again");
            }
            stream = loop {
                tokio::time::sleep(AGAIN).await;
                match self.shared.stream().await {
                    Ok(stream) => break stream,
                    Err(error) => tracing::debug!(%error, "no stream of events yet"),
                }
            };
            self.tell_missed().await;
        }
    }

    async fn follow(&self, mut stream: Stream) -> std::io::Result<()> {
        let mut decoder = Decoder::default();
        let mut transaction = Vec::new();
        loop {
            match decoder.decode(stream.next().await?).map_err(std::io::Error::other)? {
                Message::Begin => transaction.clear(),
                Message::Insert { table, row } => transaction.extend(happened(table, row, true)),
                Message::Update { table, row } => transaction.extend(happened(table, row, false)),
                Message::Commit { at } => self.committed(std::mem::take(&mut transaction), at).await,
                Message::Other => {}
            }
        }
    }

    async fn committed(&self, transaction: Vec<Happened>, at: i64) {
        let at = Timestamp::from_microsecond(at).unwrap_or_default();
        let mut files = Vec::new();
        for happened in transaction {
            match happened {
                Happened::Broadcast { id, mut payload, event, topic, private } => {
                    if self.faults.roll(|all, _| all.older_database) {
                        payload = without_revision(payload);
                    }
                    self.hub.sent(id, payload, &event, &topic, private);
                }
                Happened::File { table, row, inserted } => {
                    if inserted && !self.faults.roll(|all, _| all.deaf) {
                        self.row_inserted(&table, &row, at).await;
                    }
                    files.push((table, row));
                }
            }
        }
        self.tell(files).await;
    }

    /// `postgres_changes`: to each subscriber that sees the row.
    async fn row_inserted(&self, table: &Table, row: &[Cell], at: Timestamp) {
        let callers = self.subscribers.callers();
        let id = table.text(row, "id").unwrap_or_default();
        if callers.is_empty() {
            return;
        }
        self.until_visible(id).await;
        let mut seeing = Vec::new();
        for (subscriber, claims) in callers {
            if self.shared.sees(&claims, id).await {
                seeing.push(subscriber);
            }
        }
        if !seeing.is_empty() {
            let columns = table.columns.iter().zip(row).filter_map(|((name, kind), cell)| match cell {
                Cell::Null => Some((name.clone(), Value::Null)),
                Cell::Text(text) => Some((name.clone(), column(text, *kind))),
                Cell::Unchanged => None,
            });
            let record: Map<String, Value> = columns.collect();
            self.subscribers.inserted_for(Some(&seeing), &at.to_string(), || record.into());
        }
    }

    /// The log is read the moment a commit is flushed, which is a little before others see what it did.
    async fn until_visible(&self, row: &str) {
        let sql = "select from public.project_files where id = $1::text::uuid";
        let deadline = Instant::now() + VISIBLE_WITHIN;
        while self.shared.ask(sql, &[row]).await.is_ok_and(|rows| rows.is_empty()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// To those who follow the table: the rows of our project that are current now, as one change for each revision.
    async fn tell(&self, rows: Vec<(Arc<Table>, Vec<Cell>)>) {
        if self.shared.changes.receiver_count() == 0 {
            return;
        }
        let mut change: Option<Change> = None;
        for (table, row) in rows {
            let text = |name: &str| table.text(&row, name);
            let ours = text("project_id") == Some(&self.shared.project_id) && text("is_current_version") == Some("t");
            let (Some(path), Some(version), Some(revision)) = (text("file_path"), text("version"), text("revision"))
            else {
                continue;
            };
            let (Ok(version), Ok(revision), true) = (version.parse(), revision.parse(), ours) else { continue };
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
            // No receiver is no error: nobody need watch.
            let _receivers = self.shared.changes.send(change);
        }
    }

    async fn bytes(&self, table: &Table, row: &[Cell]) -> Option<Bytes> {
        match (table.cell(row, "content")?, table.text(row, "encoding")) {
            (Cell::Text(content), Some("base64")) => BASE64_STANDARD.decode(content).ok().map(Into::into),
            (Cell::Text(content), _) => Some(Bytes::from(content.clone())),
            (Cell::Null, _) => {
                let name = asset_name(&self.shared.project_id, table.text(row, "content_hash")?);
                self.shared.object(&name).await.unwrap_or_else(not_read)
            }
            (Cell::Unchanged, _) => self.shared.bytes_of(table.text(row, "id")?).await.unwrap_or_else(not_read),
        }
    }

    /// After a break: whatever is newer than what was told last.
    async fn tell_missed(&self) {
        let known = self.shared.known.load(std::sync::atomic::Ordering::Relaxed);
        let rows = match self.shared.newer(known).await {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!(%error, "what changed meanwhile was not read"),
        };
        for row in rows {
            let change = Change { revision: row.revision, sender: row.sender.clone(), files: vec![(&row).into()] };
            self.shared.known.store(row.revision, std::sync::atomic::Ordering::Relaxed);
            let _receivers = self.shared.changes.send(change);
        }
    }
}

fn not_read(error: StoreError) -> Option<Bytes> {
    tracing::warn!(%error, "a file's content was not read");
    None
}

fn happened(table: Arc<Table>, row: Vec<Cell>, inserted: bool) -> Option<Happened> {
    let text = |name: &str| table.text(&row, name).map(str::to_owned);
    match (table.schema.as_str(), table.name.as_str()) {
        ("public", "project_files") => Some(Happened::File { table, row, inserted }),
        // On hosted the table is parted by days.
        ("realtime", name) if inserted && name.starts_with("messages") && text("extension")? == "broadcast" => {
            Some(Happened::Broadcast {
                id: text("id")?,
                payload: text("payload")?,
                event: text("event")?,
                topic: text("topic")?,
                private: text("private").as_deref() == Some("t"),
            })
        }
        _ => None,
    }
}

/// A column's text as JSON, by the type's OID.
fn column(text: &str, type_oid: u32) -> Value {
    let parsed = || serde_json::from_str(text).unwrap_or_else(|_| text.into());
    match Type::from_oid(type_oid) {
        Some(Type::BOOL) => (text == "t").into(),
        Some(Type::INT2 | Type::INT4 | Type::INT8 | Type::JSON | Type::JSONB) => parsed(),
        // `2026-11-21 07:00:00.5+00`, as the stream's connection is set.
        Some(Type::TIMESTAMPTZ) => text.replacen(' ', "T", 1).replacen("+00", "+00:00", 1).into(),
        _ => text.into(),
    }
}

/// An older database's events carry none.
fn without_revision(payload: String) -> String {
    match serde_json::from_str::<Value>(&payload) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("revision");
            json!(fields).to_string()
        }
        _ => payload,
    }
}
