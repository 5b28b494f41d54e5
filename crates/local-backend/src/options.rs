use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::DatabaseUrl;

/// A file that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Relative to the project's root.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The kind of key that an agent gets as `SUPABASE_ANON_KEY`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnonKey {
    /// The legacy JWT of role `anon`.
    #[default]
    Jwt,
    /// An `sb_publishable_…` key.
    Publishable,
}

/// Who may broadcast and track presence on the project's private topics, for a project in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChannelRights {
    /// As the migrations' policies: an agent broadcasts on its status topic, the service everywhere.
    #[default]
    Deployed,
    /// The editor broadcasts and tracks presence as well, as where the recordings were made.
    EditorSends,
}

/// Whether the backend's own listener serves `/_local/faults`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FaultApi {
    /// The path does not exist.
    #[default]
    Hidden,
    /// Every program that reaches the port may use it; pages of other sites may not.
    Served,
}

/// The options of a backend. Times and limits default to those of the real server; tests shorten the times they wait for.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The PostgreSQL that holds the project and runs every function. Without one the project is in memory.
    pub database_url: Option<DatabaseUrl>,
    /// The backend's one project, a UUID.
    pub project_id: String,
    /// The session that the backend starts with.
    pub session_id: String,
    /// The files of revision 1.
    pub files: Vec<SeedFile>,
    /// Who may send on the project's channels, for a project in memory.
    pub channel_rights: ChannelRights,
    /// Whether `/_local/faults` is served.
    pub fault_api: FaultApi,
    /// How long an agent's token is valid.
    pub token_lifetime: Duration,
    /// How long a snapshot's URL is valid.
    pub snapshot_lifetime: Duration,
    /// Largest snapshot in bytes, as the agent has it.
    pub snapshot_limit: usize,
    /// The secret that signs tokens; a random one by default.
    pub jwt_secret: Option<Vec<u8>>,
    /// Public ES256 keys as JWKs, each with its `kid`, that may sign tokens as well. They are served at
    /// `/auth/v1/.well-known/jwks.json`.
    pub jwks: Vec<serde_json::Value>,
    /// The kind of key that an agent gets.
    pub anon_key: AnonKey,
    /// Delay of the answer to a refused websocket.
    pub refusal_delay: Duration,
    /// Delay of the answer to a refused join; the socket is blocked meanwhile.
    pub join_refusal_delay: Duration,
    /// A websocket without any message from the client for this long is closed with 1000.
    pub silence_limit: Duration,
    /// Time between the ok reply of a private channel and its first database broadcast; earlier ones are lost.
    pub stream_gap: Duration,
    /// Time after which a channel whose replication is withheld is closed with an error.
    pub replication_timeout: Duration,
    /// Time between a join and its subscription to `postgres_changes`.
    pub postgres_changes_delay: Duration,
    /// Largest event in bytes of JSON: a larger one omits the contents, then the list.
    pub event_max_bytes: usize,
    /// Largest total of file contents in one event, in bytes; content above this is omitted.
    pub event_content_bytes: usize,
    /// A page of `list_project_changes` ends at the first revision boundary after this many bytes of content.
    pub page_bytes: usize,
    /// Largest payload in bytes of a client's broadcast.
    pub broadcast_limit: usize,
    /// Largest message in bytes from a websocket; a larger one closes it (1006).
    pub frame_limit: usize,
    /// Most bytes that may wait for one websocket; above this the client is too slow and is cut.
    pub queue_bytes: usize,
    /// Most websockets at a time; further ones are refused with 429.
    pub max_connections: usize,
}

impl Default for BackendOptions {
    fn default() -> BackendOptions {
        BackendOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            database_url: None,
            project_id: uuid::Uuid::new_v4().to_string(),
            session_id: uuid::Uuid::new_v4().to_string(),
            files: Vec::new(),
            channel_rights: ChannelRights::Deployed,
            fault_api: FaultApi::Hidden,
            token_lifetime: Duration::from_secs(3600),
            snapshot_lifetime: Duration::from_secs(3600),
            snapshot_limit: 50 << 20,
            jwt_secret: None,
            jwks: Vec::new(),
            anon_key: AnonKey::Jwt,
            refusal_delay: Duration::from_secs(2),
            join_refusal_delay: Duration::from_secs(5),
            silence_limit: Duration::from_secs(66),
            stream_gap: Duration::ZERO,
            replication_timeout: Duration::from_secs(60),
            postgres_changes_delay: Duration::from_millis(2500),
            // Both as the database's settings (`project_sync.settings`).
            event_max_bytes: 200_000,
            event_content_bytes: 150_000,
            page_bytes: 1 << 20,
            broadcast_limit: 3_000_500,
            frame_limit: 5_000_000,
            queue_bytes: 256 << 20,
            max_connections: 1000,
        }
    }
}
