use std::collections::BTreeSet;
use std::time::Duration;

use crate::wire::ClientMessage;
use crate::{
    BatchId, ChannelState, DegradedReason, Event, LocalChange, Op, PendingReason, Read, ReadId, Revision, TableDigest,
};

/// Something to be done outside.
#[derive(Debug, Clone)]
pub enum Output {
    /// Open a websocket (closing one that is open), with the current token's `apikey`.
    Connect,
    /// Close the websocket. Nothing more of it is reported.
    Disconnect,
    /// Send this over it, as a text frame: [`ClientMessage::encode`] takes the token that the core never holds.
    Send(ClientMessage),
    /// Ask the database.
    Read(ReadId, Read),
    /// Change the directory; answered by [`crate::Input::Written`].
    Write(BatchId, Vec<Op>),
    /// Remove a file from the staging directory: it will not be written. A batch takes over the files that it names,
    /// whatever its outcome.
    Discard(crate::StageId),
    /// `POST SESSION_URL` for a token; answered by [`crate::Input::Renewed`].
    Renew,
    /// Log and count this.
    Event(Event),
}

/// What `/status` and the metrics show of the core.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Everything up to this revision is accepted.
    pub revision: Revision,
    /// The newest revision known to exist.
    pub head: Option<Revision>,
    /// How long ago a read last showed the head; `None`: never, or not since the machine was suspended.
    pub head_age: Option<Duration>,
    /// At the head, with every file on disk, as far as a read showed within the last 60 s.
    pub current: bool,
    /// How far the channel is.
    pub channel: ChannelState,
    /// Files accepted and not yet on disk.
    pub pending_files: Vec<PendingFile>,
    /// Owned files that the project's own code changed, and the database did not change since.
    pub local_changes: Vec<LocalChange>,
    /// Live paths of the table.
    pub files: usize,
    /// The digest of what was accepted, as the contract computes it.
    pub digest: TableDigest,
    /// Events held while hydrating or catching up.
    pub held: usize,
    /// Why the agent is not in full health.
    pub degraded: BTreeSet<DegradedReason>,
    /// How long the current token is still valid.
    pub token_left: Option<Duration>,
}

/// A file that was accepted and is not on disk yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFile {
    /// As the database spells it.
    pub path: String,
    /// Why it is not on disk.
    pub reason: PendingReason,
    /// The last error; empty where nothing failed yet.
    pub error: String,
}
