use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::frame::{Protocol, encode};
use super::hub::Topic;
use super::outbox::FrameSender;

/// The tracked presences of all topics. Only channels that joined with presence get them.
#[derive(Default)]
pub struct Presence(Mutex<HashMap<Topic, Vec<Watcher>>>);

/// One tracked presence.
#[derive(Clone)]
struct Tracked {
    key: String,
    /// The client's payload with `phx_ref`.
    meta: Value,
}

struct Watcher {
    id: u64,
    protocol: Protocol,
    frames: FrameSender,
    tracked: Option<Tracked>,
}

impl Presence {
    /// Everything tracked on the topic, by key.
    pub fn state(&self, topic: &Topic) -> Value {
        let all = self.lock();
        let tracked = all.get(topic).into_iter().flatten().filter_map(|watcher| watcher.tracked.as_ref());
        by_key(tracked)
    }

    pub fn watch(&self, topic: &Topic, id: u64, protocol: Protocol, frames: FrameSender) {
        self.lock().entry(topic.clone()).or_default().push(Watcher { id, protocol, frames, tracked: None });
    }

    pub fn track(&self, topic: &Topic, id: u64, key: &str, payload: &Value) {
        let mut meta = payload.as_object().cloned().unwrap_or_default();
        meta.insert("phx_ref".into(), json!(uuid::Uuid::new_v4().simple().to_string()));
        self.replace(topic, id, Some(Tracked { key: key.into(), meta: meta.into() }));
    }

    pub fn untrack(&self, topic: &Topic, id: u64) {
        self.replace(topic, id, None);
    }

    pub fn leave(&self, topic: &Topic, id: u64) {
        self.replace(topic, id, None);
        let mut all = self.lock();
        if let Some(watchers) = all.get_mut(topic) {
            watchers.retain(|watcher| watcher.id != id);
            if watchers.is_empty() {
                all.remove(topic);
            }
        }
    }

    fn replace(&self, topic: &Topic, id: u64, new: Option<Tracked>) {
        let mut all = self.lock();
        let Some(watchers) = all.get_mut(topic) else { return };
        let Some(watcher) = watchers.iter_mut().find(|watcher| watcher.id == id) else { return };
        let old = std::mem::replace(&mut watcher.tracked, new.clone());
        if old.is_none() && new.is_none() {
            return;
        }
        let diff = json!({"joins": by_key(new.iter()), "leaves": by_key(old.iter())}).to_string();
        for watcher in watchers {
            let frame = encode(watcher.protocol, &Value::Null, &Value::Null, &topic.name, "presence_diff", &diff);
            watcher.frames.push(frame);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Vec<Watcher>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_key<'a>(tracked: impl Iterator<Item = &'a Tracked>) -> Value {
    let mut keys: Map<String, Value> = Map::new();
    for tracked in tracked {
        let entry = keys.entry(tracked.key.clone()).or_insert_with(|| json!({"metas": []}));
        if let Some(metas) = entry.get_mut("metas").and_then(Value::as_array_mut) {
            metas.push(tracked.meta.clone());
        }
    }
    keys.into()
}
