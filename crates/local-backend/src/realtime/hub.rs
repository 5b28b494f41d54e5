mod delivery;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::agent_reports::AgentReports;
use super::frame::{Body, Protocol, binary_broadcast, encode};
use super::join::MAX_REPLAY;
use super::outbox::FrameSender;
use crate::faults::Faults;

use delivery::Delayed;

/// Most topics whose past broadcasts are kept.
const MAX_PAST_TOPICS: usize = 16;

/// Whether a channel is checked by policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Every client may join and send.
    Public,
    /// The policies decide who joins and who sends.
    Private,
}

/// A topic. Public and private channels of one name are separate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The name on the wire, with `realtime:`.
    pub name: String,
    pub visibility: Visibility,
}

/// One joined channel of one socket.
pub struct Member {
    pub id: u64,
    pub protocol: Protocol,
    pub frames: FrameSender,
    /// Database broadcasts before this are lost to it.
    pub streams_from: Instant,
    /// The count of [`Faults::stall_joined`] at its join or its last new token.
    pub stall_epoch: u64,
}

/// A broadcast that was sent earlier.
struct PastBroadcast {
    /// Unix milliseconds.
    sent_at: u64,
    broadcast: Arc<Broadcast>,
}

/// Delivers broadcasts to the members of topics.
pub struct Hub {
    topics: Mutex<HashMap<Topic, Vec<Member>>>,
    /// The last private database broadcasts of each topic, for replay.
    past: Mutex<HashMap<String, VecDeque<PastBroadcast>>>,
    faults: Faults,
    pub agent_reports: AgentReports,
    held: Mutex<Option<Addressed>>,
    delayed: mpsc::Sender<Delayed>,
    /// The number of broadcasts in `delayed`, with the one that its task waits for.
    waiting: AtomicUsize,
    runtime: Handle,
}

/// One broadcast.
#[derive(Debug)]
pub struct Broadcast {
    pub event: Option<String>,
    pub body: BroadcastBody,
}

/// The origin of a broadcast, which decides its form on the wire.
#[derive(Debug)]
pub enum BroadcastBody {
    /// From `realtime.send`: binary on protocol 2.0.0, with its id in the metadata.
    Database { id: String, payload: String },
    /// A client's text, or JSON over HTTP: passed on unchanged.
    Text(String),
    /// A client's binary push.
    Push(Body),
}

/// A broadcast and its topic.
#[derive(Clone)]
struct Addressed {
    topic: Topic,
    broadcast: Arc<Broadcast>,
}

impl Hub {
    /// Must be called inside a runtime, on which delayed broadcasts run.
    pub fn new(faults: Faults) -> Arc<Hub> {
        let (delayed, due) = mpsc::channel(delivery::MAX_DELAYED);
        let hub = Arc::new(Hub {
            topics: Mutex::default(),
            past: Mutex::default(),
            faults,
            agent_reports: AgentReports::default(),
            held: Mutex::default(),
            delayed,
            waiting: AtomicUsize::new(0),
            runtime: Handle::current(),
        });
        tokio::spawn(delivery::deliver_delayed(Arc::downgrade(&hub), due));
        hub
    }

    pub fn join(&self, topic: &Topic, member: Member) {
        self.topics().entry(topic.clone()).or_default().push(member);
    }

    pub fn leave(&self, topic: &Topic, id: u64) {
        let mut topics = self.topics();
        if let Some(members) = topics.get_mut(topic) {
            members.retain(|member| member.id != id);
            if members.is_empty() {
                topics.remove(topic);
            }
        }
    }

    /// A new token was pushed: that ends a stall.
    pub fn end_stall(&self, topic: &Topic, id: u64) {
        let epoch = self.faults.stall_epoch();
        if let Some(members) = self.topics().get_mut(topic) {
            members.iter_mut().filter(|member| member.id == id).for_each(|member| member.stall_epoch = epoch);
        }
    }

    /// `realtime.send(payload, event, topic, private)`: adds an `id` to the payload. `topic` is without `realtime:`.
    pub fn send(self: &Arc<Hub>, mut payload: Value, event: &str, topic: &str, visibility: Visibility) {
        let id = uuid::Uuid::new_v4().to_string();
        let Some(fields) = payload.as_object_mut() else { return };
        fields.entry("id").or_insert_with(|| json!(id));
        self.sent(id, payload.to_string(), event, topic, visibility);
    }

    /// Delivers a row that `realtime.send` has written in the database.
    pub fn sent(self: &Arc<Hub>, id: String, payload: String, event: &str, topic: &str, visibility: Visibility) {
        let body = BroadcastBody::Database { id, payload };
        let topic = Topic { name: format!("realtime:{topic}"), visibility };
        let broadcast = Arc::new(Broadcast { event: Some(event.into()), body });
        if visibility == Visibility::Private {
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            if past.len() < MAX_PAST_TOPICS || past.contains_key(&topic.name) {
                let broadcasts = past.entry(topic.name.clone()).or_default();
                broadcasts.push_back(PastBroadcast { sent_at: unix_ms(), broadcast: broadcast.clone() });
                if broadcasts.len() > MAX_REPLAY {
                    broadcasts.pop_front();
                }
            }
        }
        self.send_with_faults(Addressed { topic, broadcast });
    }

    /// The newest `limit` private broadcasts of the topic since `since` (Unix milliseconds), as text frames, oldest first.
    pub fn replay(&self, protocol: Protocol, join_ref: &Value, topic: &str, since: u64, limit: usize) -> Vec<Message> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let broadcasts: Vec<_> = past.get(topic).into_iter().flatten().filter(|past| past.sent_at >= since).collect();
        let newest = broadcasts.iter().skip(broadcasts.len().saturating_sub(limit));
        newest.filter_map(|past| past.broadcast.replayed(protocol, join_ref, topic)).collect()
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, Vec<Member>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    jiff::Timestamp::now().as_millisecond().try_into().unwrap_or(0)
}

impl Broadcast {
    fn replayed(&self, protocol: Protocol, join_ref: &Value, topic: &str) -> Option<Message> {
        let BroadcastBody::Database { id, payload } = &self.body else { return None };
        let (event, meta) = (json!(self.event), json!({"id": id, "replayed": true}));
        let payload = format!(r#"{{"event":{event},"meta":{meta},"payload":{payload},"type":"broadcast"}}"#);
        Some(encode(protocol, join_ref, &Value::Null, topic, "broadcast", &payload))
    }

    /// The frame for one protocol; `None` if the protocol cannot carry the broadcast.
    fn frame(&self, protocol: Protocol, topic: &str) -> Option<Message> {
        let event = json!(self.event);
        let name = self.event.as_deref().unwrap_or_default();
        let text = |payload: &str| encode(protocol, &Value::Null, &Value::Null, topic, "broadcast", payload);
        match (&self.body, protocol) {
            (BroadcastBody::Database { id, payload }, Protocol::V1) => {
                let meta = json!({ "id": id });
                Some(text(&format!(r#"{{"event":{event},"meta":{meta},"payload":{payload},"type":"broadcast"}}"#)))
            }
            (BroadcastBody::Database { id, payload }, Protocol::V2) => {
                binary_broadcast(topic, name, &json!({ "id": id }).to_string(), &Body::Json(payload.clone()))
            }
            (BroadcastBody::Text(payload), _) => Some(text(payload)),
            (BroadcastBody::Push(body), Protocol::V2) => binary_broadcast(topic, name, "", body),
            (BroadcastBody::Push(Body::Json(payload)), Protocol::V1) => {
                Some(text(&format!(r#"{{"event":{event},"payload":{payload},"type":"broadcast"}}"#)))
            }
            (BroadcastBody::Push(Body::Bytes(_)), Protocol::V1) => None,
        }
    }
}
