use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::frame::{Vsn, encode};
use super::queue::Queue;
use crate::store::policies::Policies;
use crate::token::Claims;

/// The columns of `public.project_files`, as each `postgres_changes` frame lists them.
const COLUMNS: [(&str, &str); 13] = [
    ("id", "uuid"),
    ("project_id", "uuid"),
    ("file_path", "text"),
    ("file_type", "text"),
    ("content", "text"),
    ("content_hash", "text"),
    ("version", "int4"),
    ("revision", "int8"),
    ("size", "int8"),
    ("encoding", "text"),
    ("is_deleted", "bool"),
    ("is_current_version", "bool"),
    ("updated_at", "timestamptz"),
];

/// A row above 1 MiB comes without its large column.
const MAX_CONTENT: usize = 1 << 20;

/// One accepted entry of a join's `postgres_changes`.
pub struct Subscription {
    id: u64,
    event: String,
    filter: Option<(String, String)>,
}

/// What a join is given of the table's rows, and as whom.
pub struct Subscribed {
    pub subscriptions: Vec<Subscription>,
    pub claims: Claims,
}

/// Who has subscribed to the table's rows.
#[derive(Default)]
pub struct Changes(Mutex<HashMap<u64, Subscriber>>);

struct Subscriber {
    topic: String,
    vsn: Vsn,
    queue: Queue,
    subscriptions: Vec<Subscription>,
    claims: Claims,
}

/// What the ok reply echoes, and what comes of it: the subscriptions, or why the server cannot have them.
pub fn accept(asked: &[Value], claims: &Claims, policies: &Policies) -> (Vec<Value>, Result<Subscribed, String>) {
    let echo: Vec<Value> = asked.iter().filter_map(Value::as_object).map(|entry| echo(entry).into()).collect();
    let subscriptions = echo.iter().map(subscription).collect::<Result<Vec<_>, _>>();
    // Without a policy for its role a subscriber hears nothing, and is not told.
    let subscribed = subscriptions.map(|all| Subscribed {
        subscriptions: if policies.may_subscribe(claims) { all } else { Vec::new() },
        claims: claims.clone(),
    });
    (echo, subscribed)
}

/// The entry with its `id`, which names it in each frame.
fn echo(entry: &Map<String, Value>) -> Map<String, Value> {
    let mut hasher = DefaultHasher::new();
    for name in ["event", "schema", "table", "filter"] {
        entry.get(name).map(Value::to_string).hash(&mut hasher);
    }
    let mut echo = entry.clone();
    echo.insert("id".into(), json!(hasher.finish() >> 37));
    echo
}

fn subscription(entry: &Value) -> Result<Subscription, String> {
    let text = |name: &str| entry[name].as_str();
    let event = text("event").unwrap_or("*").to_owned();
    let filter = text("filter").map(filter).transpose()?;
    let asked = || {
        let filters = filter.as_ref().map(|(column, value)| format!(r#"{{"{column}", "eq", "{value}", false}}"#));
        format!(
            "[event: {event}, schema: {}, table: {}, filters: [{}], select: nil]",
            text("schema").unwrap_or("nil"),
            text("table").unwrap_or("nil"),
            filters.unwrap_or_default(),
        )
    };
    if !matches!(text("schema"), Some("public" | "*")) || !matches!(text("table"), Some("project_files" | "*") | None) {
        return Err(format!(
            "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given \
             connect parameters: {}",
            asked(),
        ));
    }
    if let Some((column, _)) = filter.as_ref().filter(|(column, _)| !COLUMNS.iter().any(|(name, _)| name == column)) {
        return Err(format!(
            "Unable to subscribe to changes with given parameters. An exception happened so please check your connect \
             parameters: {}. Exception: ERROR P0001 (raise_exception) invalid column for filter {column}",
            asked(),
        ));
    }
    Ok(Subscription { id: entry["id"].as_u64().unwrap_or(0), event, filter })
}

/// `column=eq.value`: the one operator that is understood here.
fn filter(text: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = text.splitn(2, '=').flat_map(|part| part.splitn(2, '.')).collect();
    match parts[..] {
        [column, "eq", value] => Ok((column.into(), value.into())),
        [_, operator, value] => Err(format!(r#"Error parsing `filter` params: ["{operator}", "{value}"]"#)),
        _ => Err(format!(r#"Error parsing `filter` params: ["{text}"]"#)),
    }
}

impl Changes {
    pub fn subscribe(&self, id: u64, topic: &str, vsn: Vsn, queue: Queue, subscribed: Subscribed) {
        let Subscribed { subscriptions, claims } = subscribed;
        self.lock().insert(id, Subscriber { topic: topic.into(), vsn, queue, subscriptions, claims });
    }

    pub fn unsubscribe(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// Who has subscribed, by the channel's id, and as whom.
    pub fn callers(&self) -> Vec<(u64, Claims)> {
        self.lock().iter().map(|(id, subscriber)| (*id, subscriber.claims.clone())).collect()
    }

    /// A row was inserted into `project_files`: `record` makes its columns, where anybody wants them.
    pub fn inserted(&self, commit_timestamp: &str, record: impl FnOnce() -> Value) {
        self.inserted_for(None, commit_timestamp, record);
    }

    /// The same for some of the subscribers.
    pub fn inserted_for(&self, only: Option<&[u64]>, commit_timestamp: &str, record: impl FnOnce() -> Value) {
        let subscribers = self.lock();
        if subscribers.is_empty() {
            return;
        }
        let (mut record, mut errors) = (record(), Value::Null);
        if record["content"].as_str().is_some_and(|content| content.len() > MAX_CONTENT) {
            record.as_object_mut().and_then(|columns| columns.remove("content"));
            errors = json!(["Error 413: Payload Too Large"]);
        }
        let columns: Vec<Value> = COLUMNS.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        let data = json!({
            "table": "project_files", "type": "INSERT", "record": record, "columns": columns, "errors": errors,
            "schema": "public", "commit_timestamp": commit_timestamp,
        });
        let seeing = subscribers.iter().filter(|(id, _)| only.is_none_or(|only| only.contains(id)));
        for (_, subscriber) in seeing {
            let wanted = |one: &&Subscription| {
                let of_column = |(column, value): &(String, String)| match &record[column] {
                    Value::String(text) => text == value,
                    Value::Number(number) => number.to_string() == **value,
                    _ => false,
                };
                matches!(one.event.as_str(), "*" | "INSERT") && one.filter.as_ref().is_none_or(of_column)
            };
            let ids: Vec<u64> = subscriber.subscriptions.iter().filter(wanted).map(|one| one.id).collect();
            if !ids.is_empty() {
                let payload = json!({"data": data, "ids": ids}).to_string();
                let (vsn, topic) = (subscriber.vsn, &subscriber.topic);
                subscriber.queue.push(encode(vsn, &Value::Null, &Value::Null, topic, "postgres_changes", &payload));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
