use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::frame::{Vsn, encode};
use super::hub::Topic;
use super::queue::Queue;

/// Who is present where; only channels that were joined with presence are told.
#[derive(Default)]
pub struct Presence(Mutex<HashMap<Topic, Vec<Watcher>>>);

struct Watcher {
    id: u64,
    vsn: Vsn,
    queue: Queue,
    /// Its key and what it tracks, with a reference of its own.
    tracked: Option<(String, Value)>,
}

impl Presence {
    /// Everything tracked on the topic, by key.
    pub fn state(&self, topic: &Topic) -> Value {
        let all = self.lock();
        let tracked = all.get(topic).into_iter().flatten().filter_map(|watcher| watcher.tracked.as_ref());
        by_key(tracked)
    }

    pub fn watch(&self, topic: &Topic, id: u64, vsn: Vsn, queue: Queue) {
        self.lock().entry(topic.clone()).or_default().push(Watcher { id, vsn, queue, tracked: None });
    }

    pub fn track(&self, topic: &Topic, id: u64, key: &str, payload: &Value) {
        let mut meta = payload.as_object().cloned().unwrap_or_default();
        meta.insert("phx_ref".into(), json!(uuid::Uuid::new_v4().simple().to_string()));
        self.replace(topic, id, Some((key.into(), meta.into())));
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

    fn replace(&self, topic: &Topic, id: u64, new: Option<(String, Value)>) {
        let mut all = self.lock();
        let Some(watchers) = all.get_mut(topic) else { return };
        let Some(watcher) = watchers.iter_mut().find(|watcher| watcher.id == id) else { return };
        let old = std::mem::replace(&mut watcher.tracked, new.clone());
        if old.is_none() && new.is_none() {
            return;
        }
        let diff = json!({"joins": by_key(new.iter()), "leaves": by_key(old.iter())}).to_string();
        for watcher in watchers {
            let frame = encode(watcher.vsn, &Value::Null, &Value::Null, &topic.name, "presence_diff", &diff);
            watcher.queue.push(frame);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Vec<Watcher>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_key<'a>(tracked: impl Iterator<Item = &'a (String, Value)>) -> Value {
    let mut keys: Map<String, Value> = Map::new();
    for (key, meta) in tracked {
        let entry = keys.entry(key.clone()).or_insert_with(|| json!({"metas": []}));
        if let Some(metas) = entry["metas"].as_array_mut() {
            metas.push(meta.clone());
        }
    }
    keys.into()
}
