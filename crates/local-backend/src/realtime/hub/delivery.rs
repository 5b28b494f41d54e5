use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{Addressed, Broadcast, BroadcastBody, Hub, Topic, Visibility};
use crate::realtime::frame::{Body, Protocol};

/// Most delayed broadcasts; further ones are lost.
pub const MAX_DELAYED: usize = 100_000;
/// How long a broadcast that the fault reorders waits for the next one.
const REORDER_WAIT: Duration = Duration::from_millis(200);

/// A broadcast that is sent later.
pub struct Delayed {
    at: Instant,
    addressed: Addressed,
}

/// The frame of a broadcast for each protocol, encoded when the first member needs it.
#[derive(Default)]
struct EncodedFrames {
    v1: Encoded,
    v2: Encoded,
}

#[derive(Default)]
enum Encoded {
    #[default]
    NotYet,
    Frame(Message),
    /// The protocol cannot carry the broadcast.
    Impossible,
}

/// Sends delayed broadcasts in their order.
pub async fn deliver_delayed(hub: Weak<Hub>, mut due: mpsc::Receiver<Delayed>) {
    while let Some(delayed) = due.recv().await {
        tokio::time::sleep_until(delayed.at).await;
        let Some(hub) = hub.upgrade() else { return };
        hub.deliver(&delayed.addressed.topic, &delayed.addressed.broadcast, None);
        hub.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hub {
    /// Sends a database broadcast, dropped, doubled, reordered or delayed by the faults.
    pub(super) fn send_with_faults(self: &Arc<Hub>, addressed: Addressed) {
        let (drop, double, hold) = self.faults.roll(|all, random| {
            let drop = all.drop_broadcasts.happens(random);
            (drop, !drop && all.double_broadcasts.happens(random), !drop && all.reorder_broadcasts.happens(random))
        });
        if drop {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if hold && held.is_none() {
            *held = Some(addressed);
            let hub = Arc::downgrade(self);
            self.runtime.spawn(async move {
                tokio::time::sleep(REORDER_WAIT).await;
                if let Some(hub) = hub.upgrade() {
                    let late = hub.held.lock().unwrap_or_else(PoisonError::into_inner).take();
                    late.into_iter().for_each(|addressed| hub.dispatch(addressed));
                }
            });
            return;
        }
        let overtaken = held.take();
        std::mem::drop(held);
        if double {
            self.dispatch(addressed.clone());
        }
        self.dispatch(addressed);
        overtaken.into_iter().for_each(|addressed| self.dispatch(addressed));
    }

    /// Delivers at once, or queues while there is a delay or the queue is not empty.
    fn dispatch(&self, addressed: Addressed) {
        let delay = self.faults.roll(|all, _| all.delay_broadcasts_ms);
        if delay == 0 && self.waiting.load(Ordering::Relaxed) == 0 {
            return self.deliver(&addressed.topic, &addressed.broadcast, None);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let at = now.checked_add(Duration::from_millis(delay)).unwrap_or(now);
        if self.delayed.try_send(Delayed { at, addressed }).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("too many delayed broadcasts; one is lost");
        }
    }

    /// Delivers a client's broadcast to every member but `except`, and records reports of agents.
    pub fn deliver_from_client(&self, topic: &Topic, broadcast: &Broadcast, except: Option<u64>) {
        if topic.visibility == Visibility::Private && topic.name.ends_with(":status") {
            match &broadcast.body {
                BroadcastBody::Text(text) => self.agent_reports.record(text),
                BroadcastBody::Push(Body::Json(payload)) => {
                    let event = json!(broadcast.event);
                    self.agent_reports.record(&format!(r#"{{"event":{event},"payload":{payload}}}"#));
                }
                BroadcastBody::Push(Body::Bytes(_)) | BroadcastBody::Database { .. } => {}
            }
        }
        self.deliver(topic, broadcast, except);
    }

    /// Delivers a broadcast to every member of the topic but `except`.
    pub fn deliver(&self, topic: &Topic, broadcast: &Broadcast, except: Option<u64>) {
        if self.faults.roll(|all, _| all.stall_streams) {
            return;
        }
        let topics = self.topics();
        let Some(members) = topics.get(topic) else { return };
        let from_database = matches!(broadcast.body, BroadcastBody::Database { .. });
        let (now, stall_epoch) = (Instant::now(), self.faults.stall_epoch());
        let mut frames = EncodedFrames::default();
        for member in members.iter().filter(|member| Some(member.id) != except) {
            if from_database && (member.streams_from > now || member.stall_epoch < stall_epoch) {
                continue;
            }
            if let Some(frame) = frames.get(broadcast, member.protocol, &topic.name) {
                member.frames.push(frame);
            }
        }
    }
}

impl EncodedFrames {
    fn get(&mut self, broadcast: &Broadcast, protocol: Protocol, topic: &str) -> Option<Message> {
        let encoded = match protocol {
            Protocol::V1 => &mut self.v1,
            Protocol::V2 => &mut self.v2,
        };
        if let Encoded::NotYet = encoded {
            *encoded = broadcast.frame(protocol, topic).map_or(Encoded::Impossible, Encoded::Frame);
        }
        match encoded {
            Encoded::Frame(frame) => Some(frame.clone()),
            Encoded::NotYet | Encoded::Impossible => None,
        }
    }
}
