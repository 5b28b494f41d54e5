use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::ChannelPolicies;
use super::frame::{Protocol, encode};
use super::outbox::FrameSender;
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

/// Content above this is left out of the row, in bytes.
const MAX_CONTENT: usize = 1 << 20;

/// `column=eq.value`, the only supported operator.
struct Filter {
    column: String,
    value: String,
}

/// One accepted entry of a join's `postgres_changes`.
pub struct Subscription {
    id: u64,
    event: String,
    filter: Option<Filter>,
}

/// The accepted subscriptions of a join, with the caller's claims.
pub struct SubscribedChanges {
    pub subscriptions: Vec<Subscription>,
    pub claims: Claims,
}

/// The subscribers of the table's rows, by the channel's id.
#[derive(Default)]
pub struct Changes(Mutex<HashMap<u64, Subscriber>>);

struct Subscriber {
    topic: String,
    protocol: Protocol,
    frames: FrameSender,
    subscriptions: Vec<Subscription>,
    claims: Claims,
}

/// The entries that the ok reply echoes, and the subscriptions or the reason why they are refused.
pub fn accept(
    entries: &[Value],
    claims: &Claims,
    policies: &dyn ChannelPolicies,
) -> (Vec<Value>, Result<SubscribedChanges, String>) {
    let echo: Vec<Value> = entries.iter().filter_map(Value::as_object).map(|entry| echo(entry).into()).collect();
    let subscriptions = echo.iter().map(subscription).collect::<Result<Vec<_>, _>>();
    // A subscriber without a policy for its role gets an ok answer and no rows.
    let subscribed = subscriptions.map(|all| SubscribedChanges {
        subscriptions: if policies.may_subscribe(claims) { all } else { Vec::new() },
        claims: claims.clone(),
    });
    (echo, subscribed)
}

/// The entry with its `id`, which each frame repeats.
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
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let event = text("event").unwrap_or("*").to_owned();
    let filter = text("filter").map(parse_filter).transpose()?;
    let parameters = || {
        let filters =
            filter.as_ref().map(|Filter { column, value }| format!(r#"{{"{column}", "eq", "{value}", false}}"#));
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
            parameters(),
        ));
    }
    let unknown = |filter: &&Filter| !COLUMNS.iter().any(|(name, _)| *name == filter.column);
    if let Some(Filter { column, .. }) = filter.as_ref().filter(unknown) {
        return Err(format!(
            "Unable to subscribe to changes with given parameters. An exception happened so please check your connect \
             parameters: {}. Exception: ERROR P0001 (raise_exception) invalid column for filter {column}",
            parameters(),
        ));
    }
    Ok(Subscription { id: entry.get("id").and_then(Value::as_u64).unwrap_or(0), event, filter })
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let parts: Vec<&str> = text.splitn(2, '=').flat_map(|part| part.splitn(2, '.')).collect();
    match parts[..] {
        [column, "eq", value] => Ok(Filter { column: column.into(), value: value.into() }),
        [_, operator, value] => Err(format!(r#"Error parsing `filter` params: ["{operator}", "{value}"]"#)),
        _ => Err(format!(r#"Error parsing `filter` params: ["{text}"]"#)),
    }
}

impl Changes {
    pub fn subscribe(
        &self,
        id: u64,
        topic: &str,
        protocol: Protocol,
        frames: FrameSender,
        subscribed: SubscribedChanges,
    ) {
        let SubscribedChanges { subscriptions, claims } = subscribed;
        self.lock().insert(id, Subscriber { topic: topic.into(), protocol, frames, subscriptions, claims });
    }

    pub fn unsubscribe(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// The claims of each subscriber, by the channel's id.
    pub fn callers(&self) -> Vec<(u64, Claims)> {
        self.lock().iter().map(|(id, subscriber)| (*id, subscriber.claims.clone())).collect()
    }

    /// Sends a row that was inserted into `project_files` to all subscribers. `record` is called only if there is one.
    pub fn inserted(&self, commit_timestamp: &str, record: impl FnOnce() -> Value) {
        self.inserted_for(None, commit_timestamp, record);
    }

    /// Sends a row to the subscribers `only`, or to all.
    pub fn inserted_for(&self, only: Option<&[u64]>, commit_timestamp: &str, record: impl FnOnce() -> Value) {
        let subscribers = self.lock();
        if subscribers.is_empty() {
            return;
        }
        let (mut record, mut errors) = (record(), Value::Null);
        if record.get("content").and_then(Value::as_str).is_some_and(|content| content.len() > MAX_CONTENT) {
            record.as_object_mut().and_then(|columns| columns.remove("content"));
            errors = json!(["Error 413: Payload Too Large"]);
        }
        let columns: Vec<Value> = COLUMNS.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        let data = json!({
            "table": "project_files", "type": "INSERT", "record": record, "columns": columns, "errors": errors,
            "schema": "public", "commit_timestamp": commit_timestamp,
        });
        let receivers = subscribers.iter().filter(|(id, _)| only.is_none_or(|only| only.contains(id)));
        for (_, subscriber) in receivers {
            let wanted = |one: &&Subscription| {
                let matches_filter = |filter: &Filter| match record.get(&filter.column) {
                    Some(Value::String(text)) => *text == filter.value,
                    Some(Value::Number(number)) => number.to_string() == filter.value,
                    _ => false,
                };
                matches!(one.event.as_str(), "*" | "INSERT") && one.filter.as_ref().is_none_or(matches_filter)
            };
            let ids: Vec<u64> = subscriber.subscriptions.iter().filter(wanted).map(|one| one.id).collect();
            if !ids.is_empty() {
                let payload = json!({"data": data, "ids": ids}).to_string();
                let (protocol, topic) = (subscriber.protocol, &subscriber.topic);
                subscriber.frames.push(encode(
                    protocol,
                    &Value::Null,
                    &Value::Null,
                    topic,
                    "postgres_changes",
                    &payload,
                ));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
