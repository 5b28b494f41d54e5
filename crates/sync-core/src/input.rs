use std::time::Duration;

use bytes::Bytes;

use crate::wire::{ProtocolVersion, StatusEvent};
use crate::{
    Answer, BatchId, ContentHash, LocalChange, OpResult, Phase, ProjectPath, ReadError, ReadId, Revision, Saved,
    Version,
};

/// Configuration of an agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// UUID of the project.
    pub project_id: String,
    /// Logged everywhere, published with the status.
    pub session_id: String,
    /// The database to follow; `None`: the files of the snapshot are all there is.
    pub live: Option<LiveOptions>,
    /// What to do about files of the database that the project's own code changed.
    pub local_changes: LocalChangePolicy,
    /// Seed of the random generator for jitter and backoff.
    pub seed: u64,
}

/// How to follow the database: there is a Supabase URL and a token.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// Phoenix serializer to use.
    pub protocol: ProtocolVersion,
    /// The kind of channel to join.
    pub access: ChannelAccess,
    /// Subscribe to `postgres_changes` of `project_files` as nudges.
    pub postgres_changes: bool,
    /// Publish `preview:status` and `preview:applied` on the status topic.
    pub publish_status: bool,
    /// `exp - iat` of the first token, where it has both.
    pub token_lifetime: Option<Duration>,
    /// There is a renewal endpoint.
    pub can_renew: bool,
}

/// Who may join the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelAccess {
    /// Only holders of a JWT that the policies accept.
    Private,
    /// Everybody: what the legacy envelope token allows.
    Public,
}

/// What to do about files of the database that the project's own code changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalChangePolicy {
    /// Leave them until the database changes the path.
    #[default]
    Keep,
    /// Put them back.
    Restore,
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
    /// A batch ended; one result for each operation, in their order.
    Written(BatchId, Vec<OpResult>),
    /// The present content of owned paths that something other than the agent touched since the last observation.
    Observed(Vec<LocalChange>),
    /// A renewal ended.
    Renewed(Result<Renewal, RenewalError>),
    /// The machine was suspended: every socket is dead.
    Resumed,
    /// The phase or the dev server's state changed: published on the status topic, where publishing is on.
    PhaseChanged(PhaseReport),
    /// Something about the preview is to be published on the status topic, where publishing is on. The payload is an
    /// object; the session's id is added.
    Publish(StatusEvent, serde_json::Value),
}

/// What is published of the rest of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseReport {
    /// What the agent is doing.
    pub phase: Phase,
    /// The dev server's state.
    pub dev_server: String,
    /// For people.
    pub detail: Option<String>,
    /// The wall clock now, in Unix milliseconds: the core has none.
    pub unix_ms: u64,
}

/// The files of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Hydration {
    /// From the manifest; none without one: counts as revision 0.
    pub revision: Option<Revision>,
    /// Every file that the snapshot put into the project.
    pub files: Vec<HydratedFile>,
}

/// A directory that was kept, with state that [`Saved::decode`] accepted.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the earlier agent had accepted.
    pub saved: Saved,
    /// Every file that the earlier agent owned and that exists, with the hash of its present content: also those
    /// that the state does not know, since it may be older than the directory.
    pub files: Vec<HydratedFile>,
}

/// One file of a snapshot.
#[derive(Debug, Clone)]
pub struct HydratedFile {
    /// Its path.
    pub path: ProjectPath,
    /// Its version, from the manifest.
    pub version: Option<Version>,
    /// The verified hash of its bytes.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub size: u64,
}

/// What happened to the websocket. After `Refused`, `Failed` and `Closed` there is no socket.
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
        /// How long the server asks to wait (`Retry-After`), bounded by the shell.
        retry_after: Option<Duration>,
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

/// A renewal that succeeded. The token itself stays with the caller, which uses it from now on.
#[derive(Debug, Clone, Default)]
pub struct Renewal {
    /// The new token; `None`: the answer had none.
    pub token: Option<NewToken>,
}

/// What is known of a renewed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewToken {
    /// Its `exp - iat`, where it has both.
    pub lifetime: Option<Duration>,
}

/// A renewal that failed.
#[derive(Debug, Clone)]
pub enum RenewalError {
    /// 401, 403, 410: never again.
    Final(String),
    /// Anything else: try again with backoff.
    Retry(String),
}
