use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::frame::{Body, Vsn, binary_broadcast, encode};
use super::join::MAX_REPLAY;
use super::queue::Queue;
use super::told::Agents;
use crate::faults::Faults;

/// Delayed broadcasts held at most; what comes on top is lost, as everything late may be.
const MAX_DELAYED: usize = 100_000;
/// Topics whose past is remembered.
const MAX_PAST_TOPICS: usize = 16;
/// How long a broadcast that is to be overtaken waits for the one that does it.
const HELD: Duration = Duration::from_millis(200);

/// Public and private channels of one name are different ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// As on the wire, with `realtime:`.
    pub name: String,
    pub private: bool,
}

/// One joined channel of one socket.
pub struct Member {
    pub id: u64,
    pub vsn: Vsn,
    pub queue: Queue,
    /// Database broadcasts before this are lost to it.
    pub streams_from: Instant,
    /// The count of [`Faults::deafen_joined`] that it has outlived.
    pub heard: u64,
}

/// Broadcasts with the Unix milliseconds of their sending.
type Past = VecDeque<(u64, Arc<Cast>)>;

/// Who has joined what.
pub struct Hub {
    topics: Mutex<HashMap<Topic, Vec<Member>>>,
    /// The last private database broadcasts of each topic, whoever has heard them.
    past: Mutex<HashMap<String, Past>>,
    faults: Faults,
    pub agents: Agents,
    held: Mutex<Option<(Topic, Arc<Cast>)>>,
    delayed: mpsc::Sender<(Instant, Topic, Arc<Cast>)>,
    /// Broadcasts in that queue, the one that is being waited for included.
    waiting: AtomicUsize,
    runtime: Handle,
}

/// One broadcast.
#[derive(Debug)]
pub struct Cast {
    pub event: Option<String>,
    pub body: CastBody,
}

#[derive(Debug)]
pub enum CastBody {
    /// By `realtime.send`: binary for protocol 2.0.0, with its id beside it.
    Database { id: String, payload: String },
    /// A client's text, or one by HTTP: passed on as it came.
    Text(String),
    /// A client's binary push.
    Push(Body),
}

impl Hub {
    /// Must be called inside a runtime, which carries the delayed broadcasts.
    pub fn new(faults: Faults) -> Arc<Hub> {
        let (delayed, mut due) = mpsc::channel::<(Instant, Topic, Arc<Cast>)>(MAX_DELAYED);
        let topics = Mutex::default();
        let past = Mutex::default();
        let hub = Arc::new(Hub {
            topics,
            past,
            faults,
            agents: Agents::default(),
            held: Mutex::default(),
            delayed,
            waiting: AtomicUsize::new(0),
            runtime: Handle::current(),
        });
        let weak = Arc::downgrade(&hub);
        tokio::spawn(async move {
            while let Some((at, topic, cast)) = due.recv().await {
                tokio::time::sleep_until(at).await;
                let Some(hub) = weak.upgrade() else { return };
                hub.deliver(&topic, &cast, None);
                hub.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        });
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

    /// Another token was pushed: that wakes a deafened channel.
    pub fn wake(&self, topic: &Topic, id: u64) {
        let heard = self.faults.deafened();
        if let Some(members) = self.topics().get_mut(topic) {
            members.iter_mut().filter(|member| member.id == id).for_each(|member| member.heard = heard);
        }
    }

    /// `realtime.send(payload, event, topic, private)`: adds an `id` to the payload. `topic` is without `realtime:`.
    pub fn send(self: &Arc<Hub>, mut payload: Value, event: &str, topic: &str, private: bool) {
        let id = uuid::Uuid::new_v4().to_string();
        let Some(fields) = payload.as_object_mut() else { return };
        fields.entry("id").or_insert_with(|| json!(id));
        self.sent(id, payload.to_string(), event, topic, private);
    }

    /// A row that somebody's `realtime.send` has left in the database.
    pub fn sent(self: &Arc<Hub>, id: String, payload: String, event: &str, topic: &str, private: bool) {
        let body = CastBody::Database { id, payload };
        let topic = Topic { name: format!("realtime:{topic}"), private };
        let cast = Arc::new(Cast { event: Some(event.into()), body });
        if private {
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            // Topics beyond the bound are not remembered: there is one project, and no test that needs more.
            if past.len() < MAX_PAST_TOPICS || past.contains_key(&topic.name) {
                let casts = past.entry(topic.name.clone()).or_default();
                casts.push_back((unix_ms(), cast.clone()));
                if casts.len() > MAX_REPLAY {
                    casts.pop_front();
                }
            }
        }
        self.database(topic, cast);
    }

    /// The newest `limit` private broadcasts of the topic since then, as text, oldest first.
    pub fn replay(&self, vsn: Vsn, join_ref: &Value, topic: &str, since: u64, limit: usize) -> Vec<Message> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let casts: Vec<_> = past.get(topic).into_iter().flatten().filter(|(at, _)| *at >= since).collect();
        let newest = casts.iter().skip(casts.len().saturating_sub(limit));
        newest.filter_map(|(_, cast)| cast.replayed(vsn, join_ref, topic)).collect()
    }

    /// Lets the faults have their way with a database broadcast.
    fn database(self: &Arc<Hub>, topic: Topic, cast: Arc<Cast>) {
        let (drop, double, hold) = self.faults.roll(|all, random| {
            let drop = all.drop_broadcasts.strikes(random);
            (drop, !drop && all.double_broadcasts.strikes(random), !drop && all.reorder_broadcasts.strikes(random))
        });
        if drop {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if hold && held.is_none() {
            *held = Some((topic, cast));
            let hub = Arc::downgrade(self);
            self.runtime.spawn(async move {
                tokio::time::sleep(HELD).await;
                if let Some(hub) = hub.upgrade() {
                    let late = hub.held.lock().unwrap_or_else(PoisonError::into_inner).take();
                    late.into_iter().for_each(|(topic, cast)| hub.dispatch(topic, cast));
                }
            });
            return;
        }
        let overtaken = held.take();
        std::mem::drop(held);
        if double {
            self.dispatch(topic.clone(), cast.clone());
        }
        self.dispatch(topic, cast);
        overtaken.into_iter().for_each(|(topic, cast)| self.dispatch(topic, cast));
    }

    /// At once, or in the queue of delayed ones while there is a delay or anything in it.
    fn dispatch(&self, topic: Topic, cast: Arc<Cast>) {
        let delay = self.faults.roll(|all, _| all.delay_broadcasts_ms);
        if delay == 0 && self.waiting.load(Ordering::Relaxed) == 0 {
            return self.deliver(&topic, &cast, None);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.delayed.try_send((Instant::now() + Duration::from_millis(delay), topic, cast)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("too many delayed broadcasts, one is lost");
        }
    }

    /// A client's broadcast, to every other member.
    pub fn passed_on(&self, topic: &Topic, cast: &Cast, except: Option<u64>) {
        if topic.private && topic.name.ends_with(":status") {
            match &cast.body {
                CastBody::Text(text) => self.agents.hear(text),
                CastBody::Push(Body::Json(payload)) => {
                    self.agents.hear(&format!(r#"{{"event":{},"payload":{payload}}}"#, json!(cast.event)));
                }
                CastBody::Push(Body::Bytes(_)) | CastBody::Database { .. } => {}
            }
        }
        self.deliver(topic, cast, except);
    }

    /// To every member of the topic but `except`.
    pub fn deliver(&self, topic: &Topic, cast: &Cast, except: Option<u64>) {
        if self.faults.roll(|all, _| all.deaf) {
            return;
        }
        let topics = self.topics();
        let Some(members) = topics.get(topic) else { return };
        let database = matches!(cast.body, CastBody::Database { .. });
        let (now, deafened) = (Instant::now(), self.faults.deafened());
        let mut frames: [Option<Option<Message>>; 2] = [None, None];
        for member in members.iter().filter(|member| Some(member.id) != except) {
            if database && (member.streams_from > now || member.heard < deafened) {
                continue;
            }
            let frame = frames[member.vsn as usize].get_or_insert_with(|| cast.frame(member.vsn, &topic.name));
            if let Some(frame) = frame {
                member.queue.push(frame.clone());
            }
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, Vec<Member>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    jiff::Timestamp::now().as_millisecond().try_into().unwrap_or(0)
}

impl Cast {
    fn replayed(&self, vsn: Vsn, join_ref: &Value, topic: &str) -> Option<Message> {
        let CastBody::Database { id, payload } = &self.body else { return None };
        let (event, meta) = (json!(self.event), json!({"id": id, "replayed": true}));
        let payload = format!(r#"{{"event":{event},"meta":{meta},"payload":{payload},"type":"broadcast"}}"#);
        Some(encode(vsn, join_ref, &Value::Null, topic, "broadcast", &payload))
    }

    /// The frame for one protocol; nothing where it cannot say this.
    fn frame(&self, vsn: Vsn, topic: &str) -> Option<Message> {
        let event = json!(self.event);
        let name = self.event.as_deref().unwrap_or_default();
        let text = |payload: &str| encode(vsn, &Value::Null, &Value::Null, topic, "broadcast", payload);
        match (&self.body, vsn) {
            (CastBody::Database { id, payload }, Vsn::V1) => {
                let meta = json!({ "id": id });
                Some(text(&format!(r#"{{"event":{event},"meta":{meta},"payload":{payload},"type":"broadcast"}}"#)))
            }
            (CastBody::Database { id, payload }, Vsn::V2) => {
                binary_broadcast(topic, name, &json!({ "id": id }).to_string(), &Body::Json(payload.clone()))
            }
            (CastBody::Text(payload), _) => Some(text(payload)),
            (CastBody::Push(body), Vsn::V2) => binary_broadcast(topic, name, "", body),
            (CastBody::Push(Body::Json(payload)), Vsn::V1) => {
                Some(text(&format!(r#"{{"event":{event},"payload":{payload},"type":"broadcast"}}"#)))
            }
            (CastBody::Push(Body::Bytes(_)), Vsn::V1) => None,
        }
    }
}
