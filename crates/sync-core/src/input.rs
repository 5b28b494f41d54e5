use std::time::Duration;

use bytes::Bytes;

use crate::frame::ProtocolVersion;
use crate::{
    Answer, BatchId, ContentHash, LocalChange, ProjectPath, ReadError, ReadId, Revision, Saved, Version, Written,
};

/// What an agent is told once, at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// UUID of the project.
    pub project_id: String,
    /// Logged everywhere, sent with status.
    pub session_id: String,
    /// There is a Supabase URL and a token: join the channel and read the database.
    pub live: bool,
    /// Phoenix serializer to speak.
    pub protocol: ProtocolVersion,
    /// A private channel (a JWT), or a public one (the older envelope token).
    pub private: bool,
    /// Subscribe to `postgres_changes` of `project_files` as nudges.
    pub postgres_changes: bool,
    /// Publish `preview:status` and `preview:applied` on the status topic.
    pub publish_status: bool,
    /// `exp - iat` of the first token, where it has both.
    pub token_lifetime: Option<Duration>,
    /// There is a renewal endpoint.
    pub can_renew: bool,
    /// Put back what the project's own code changed of the database's files.
    pub restore_local_changes: bool,
    /// For jitter and backoff.
    pub seed: u64,
}

/// Something that happened outside.
#[derive(Debug, Clone)]
pub enum Input {
    /// The snapshot's files are verified and in place (or there was no snapshot: revision 0, no files).
    Hydrated(Hydration),
    /// Instead of a snapshot: the directory was kept, and with it the state of an earlier agent.
    Restored(Restored),
    /// Something about the websocket.
    Socket(SocketEvent),
    /// A read ended.
    Read(ReadId, Result<Answer, ReadError>),
    /// A batch ended; one entry an operation, in its order.
    Written(BatchId, Vec<Written>),
    /// What lies at owned paths that somebody else than the agent has touched since it was last looked.
    Looked(Vec<LocalChange>),
    /// A renewal ended.
    Renewed(Result<Renewal, RenewalError>),
    /// The machine slept: sockets are dead, whatever they say.
    Resumed,
    /// What the agent is about changed: told on the status topic, where publishing is on.
    Phase(Phase),
}

/// What the status topic is told of the rest of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// `starting`, `hydrating`, `installing`, `serving`, `stopping`, `failed`.
    pub phase: &'static str,
    /// The dev server's state.
    pub dev_server: String,
    /// For people.
    pub detail: Option<String>,
    /// The wall clock now, in Unix milliseconds: the core has none.
    pub unix_ms: u64,
}

/// What a snapshot brought.
#[derive(Debug, Clone, Default)]
pub struct Hydration {
    /// From the manifest; none without one: counts as revision 0.
    pub revision: Option<Revision>,
    /// Every file that now lies in the project because of the snapshot.
    pub files: Vec<HydratedFile>,
}

/// A directory that was kept, with state that [`Saved::decode`] accepted.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the earlier agent had accepted.
    pub saved: Saved,
    /// Every file that the earlier agent owned and that is there, with the hash of what lies there now: also those
    /// that the state does not know, since it may be older than the directory.
    pub files: Vec<HydratedFile>,
}

/// One file of a snapshot.
#[derive(Debug, Clone)]
pub struct HydratedFile {
    /// Where it lies.
    pub path: ProjectPath,
    /// From the manifest.
    pub version: Option<Version>,
    /// Verified.
    pub hash: ContentHash,
    /// Bytes.
    pub size: u64,
}

/// What the websocket's shell reports. After `Refused`, `Failed` and `Closed` there is no socket.
#[derive(Debug, Clone)]
pub enum SocketEvent {
    /// The upgrade succeeded.
    Opened,
    /// A text frame.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// The server answered the upgrade with this HTTP status.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, cut to a bound.
        body: String,
    },
    /// No connection, or a broken one.
    Failed(String),
    /// A close frame.
    Closed {
        /// The close code, 1006 where the connection just ended.
        code: u16,
        /// The peer's reason.
        reason: String,
    },
}

/// A renewal that succeeded. The token itself stays with the shell, which uses it from now on.
#[derive(Debug, Clone, Default)]
pub struct Renewal {
    /// A new token came, with this `exp - iat`.
    pub token: Option<Option<Duration>>,
}

/// A renewal that failed.
#[derive(Debug, Clone)]
pub enum RenewalError {
    /// 401, 403, 410: never again.
    Final(String),
    /// Anything else: try again with backoff.
    Retry(String),
}
