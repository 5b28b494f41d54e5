use std::collections::BTreeSet;
use std::time::Duration;

use crate::frame::ClientMessage;
use crate::{BatchId, Event, LocalChange, Op, Read, ReadId, Reason, Revision, TableDigest};

/// Something to be done outside.
#[derive(Debug, Clone)]
pub enum Output {
    /// Open a websocket (closing one that is open), with the current token's `apikey`.
    Connect,
    /// Close the websocket. Nothing more is reported of that one.
    Disconnect,
    /// Send this over it, as a text frame: [`ClientMessage::encode`] takes the token that the core never holds.
    Send(ClientMessage),
    /// Ask the database.
    Read(ReadId, Read),
    /// Change the directory; answered by [`crate::Input::Written`].
    Write(BatchId, Vec<Op>),
    /// Remove a file from the staging directory: it will not be written. A batch takes over what it names, whatever
    /// becomes of it.
    Discard(crate::StageId),
    /// `POST SESSION_URL` for a token; answered by [`crate::Input::Renewed`].
    Renew,
    /// Tell the world.
    Event(Event),
}

/// What `/status` and the metrics show of the core.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Everything up to here is accepted.
    pub revision: Revision,
    /// The newest revision heard of.
    pub head: Option<Revision>,
    /// At the head, with no debt.
    pub current: bool,
    /// `disconnected`, `connecting`, `joining`, `joined`, `off`.
    pub channel: &'static str,
    /// Accepted and not yet on disk: path, reason, error.
    pub debts: Vec<(String, &'static str, String)>,
    /// Owned files that the project's own code changed, and the database not since.
    pub local_changes: Vec<LocalChange>,
    /// Live paths of the table.
    pub files: usize,
    /// Of what was accepted, as the contract computes it.
    pub digest: TableDigest,
    /// Events held while hydrating or catching up.
    pub held: usize,
    /// Reasons beside the phase.
    pub degraded: BTreeSet<Reason>,
    /// Until the current token is no longer valid.
    pub token_left: Option<Duration>,
}
