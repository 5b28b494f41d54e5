//! The Realtime server: Phoenix channels over a websocket, in both protocol versions. It knows topics, policies and
//! broadcasts, and nothing of files or of HTTP routes.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

mod agent_reports;
mod changes;
mod channels;
mod frame;
mod hub;
mod join;
mod outbox;
mod presence;
mod socket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::faults::{Cut, Faults};
use crate::token::{Claims, Keys};

use presence::Presence;

pub use agent_reports::AgentReports;
pub use changes::Changes;
pub use frame::{Body, Protocol};
pub use hub::{Broadcast, BroadcastBody, Hub, Topic, Visibility};

/// The answer to a question about a right.
pub type Allowed<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// The rights on private channels, which the database's policies give. Topics are without `realtime:`.
pub trait ChannelPolicies: Send + Sync {
    /// Whether the caller may join the topic.
    fn may_join<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a>;
    /// Whether the caller may broadcast on the topic.
    fn may_broadcast<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a>;
    /// Whether the caller may track presence on the topic.
    fn may_track<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a>;
    /// Whether a subscription to rows is accepted at all. Over a PostgreSQL each row is checked instead.
    fn may_subscribe(&self, claims: &Claims) -> bool;
}

/// The times and limits of the Realtime server; [`crate::BackendOptions`] describes each.
#[derive(Debug, Clone)]
pub struct RealtimeSettings {
    pub refusal_delay: Duration,
    pub join_refusal_delay: Duration,
    pub silence_limit: Duration,
    pub stream_gap: Duration,
    pub replication_timeout: Duration,
    pub postgres_changes_delay: Duration,
    pub broadcast_limit: usize,
    pub frame_limit: usize,
    pub queue_bytes: usize,
    pub max_connections: usize,
}

/// The state that all sockets share.
pub struct Realtime {
    pub hub: Arc<Hub>,
    pub changes: Arc<Changes>,
    pub settings: RealtimeSettings,
    presence: Presence,
    keys: Arc<Keys>,
    policies: Arc<dyn ChannelPolicies>,
    faults: Faults,
    connections: AtomicUsize,
    last_id: AtomicU64,
}

impl Realtime {
    /// Must be called inside a runtime.
    pub fn new(
        settings: RealtimeSettings,
        keys: Arc<Keys>,
        policies: Arc<dyn ChannelPolicies>,
        faults: Faults,
    ) -> Realtime {
        Realtime {
            hub: Hub::new(faults.clone()),
            changes: Arc::default(),
            settings,
            presence: Presence::default(),
            keys,
            policies,
            faults,
            connections: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
        }
    }

    /// The number of open websockets.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A permit for one more websocket; `None` if there are too many.
    pub fn permit(self: &Arc<Realtime>) -> Option<ConnectionPermit> {
        let permit = ConnectionPermit(self.clone());
        let open = self.connections.fetch_add(1, Ordering::Relaxed);
        (open < self.settings.max_connections).then_some(permit)
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// The right to have one websocket open. Dropping it returns the right.
pub struct ConnectionPermit(Arc<Realtime>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One websocket before its upgrade: its protocol, its key, and the cuts since the request.
pub struct Connection {
    permit: ConnectionPermit,
    protocol: Protocol,
    /// The key that the websocket was opened with: the token of a join without one.
    apikey: String,
    cuts: tokio::sync::broadcast::Receiver<Cut>,
}

impl Connection {
    /// Every cut from now on counts for this websocket.
    pub fn new(permit: ConnectionPermit, protocol: Protocol, apikey: String) -> Connection {
        let cuts = permit.0.faults.cuts();
        Connection { permit, protocol, apikey, cuts }
    }

    /// Serves the websocket until either side ends it.
    pub async fn serve(self, stream: Upgraded) {
        let realtime = self.permit.0.clone();
        let limit = Some(realtime.settings.frame_limit);
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
        socket::serve(socket, realtime, self.protocol, self.apikey, self.cuts).await;
        drop(self.permit);
    }
}
