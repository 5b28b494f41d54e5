use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::DatabaseUrl;

/// A file that is there from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Relative to the project's root.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How a backend is started. The times and limits are those of the real server; tests shorten what they wait for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The PostgreSQL that holds the project and runs every function. Without one the project lives in memory.
    pub database_url: Option<DatabaseUrl>,
    /// The one project that it has.
    pub project_id: String,
    /// The one session that it knows.
    pub session_id: String,
    /// Revision 1, where there are any.
    pub files: Vec<SeedFile>,
    /// Serve the switchboard of faults at `/_local/faults`: to whoever reaches the port, but for pages of other sites.
    pub faults_over_http: bool,
    /// How long a token of the agent is valid.
    pub token_lifetime: Duration,
    /// How long a snapshot's URL is valid.
    pub snapshot_lifetime: Duration,
    /// A snapshot of more bytes is refused, as its agent would refuse it.
    pub snapshot_limit: usize,
    /// The secret that signs tokens; a random one where none is given.
    pub jwt_secret: Option<Vec<u8>>,
    /// Public ES256 keys as JWKs, each with its `kid`, with which tokens may be signed as well. Everybody may read them at
    /// `/auth/v1/.well-known/jwks.json`.
    pub jwks: Vec<serde_json::Value>,
    /// Give the agent an `sb_publishable_…` key in place of the anon JWT.
    pub publishable_key: bool,
    /// How late a refused websocket is answered.
    pub refusal_delay: Duration,
    /// How late a refused join is answered, its socket blocked meanwhile.
    pub join_refusal_delay: Duration,
    /// A websocket from which nothing came for so long is closed with 1000.
    pub silence_limit: Duration,
    /// How long after its ok reply a private channel gets database broadcasts; the ones before are lost.
    pub stream_gap: Duration,
    /// How late a subscription to `postgres_changes` stands.
    pub postgres_changes_delay: Duration,
    /// An event's payload above so many bytes leaves contents out, then the list.
    pub event_limit: usize,
    /// A page of `list_project_changes` ends at the first revision past so many bytes of content.
    pub page_bytes: usize,
    /// A client's broadcast above so many bytes of payload is refused.
    pub broadcast_limit: usize,
    /// A websocket that sends a larger message is cut (1006).
    pub frame_limit: usize,
    /// A websocket for which more bytes wait than these is cut: its client reads too slowly.
    pub queue_bytes: usize,
    /// More websockets than these are refused with 429.
    pub max_connections: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            database_url: None,
            project_id: uuid::Uuid::new_v4().to_string(),
            session_id: uuid::Uuid::new_v4().to_string(),
            files: Vec::new(),
            faults_over_http: false,
            token_lifetime: Duration::from_secs(3600),
            snapshot_lifetime: Duration::from_secs(3600),
            snapshot_limit: 50 << 20,
            jwt_secret: None,
            jwks: Vec::new(),
            publishable_key: false,
            refusal_delay: Duration::from_secs(2),
            join_refusal_delay: Duration::from_secs(5),
            silence_limit: Duration::from_secs(66),
            stream_gap: Duration::ZERO,
            postgres_changes_delay: Duration::from_millis(2500),
            // 256 KB is the free plan's limit, measured on the server's own representation: leave headroom.
            event_limit: 230_000,
            page_bytes: 1 << 20,
            broadcast_limit: 3_000_500,
            frame_limit: 5_000_000,
            queue_bytes: 256 << 20,
            max_connections: 1000,
        }
    }
}
