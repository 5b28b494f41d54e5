//! What a project's directory should hold, and how a Realtime channel is kept joined: pure state machines.
//!
//! Nothing here does I/O, reads a clock or draws a random number. The caller passes what happened ([`Input`]) together
//! with a [`Time`] it measured to [`Agent`], and carries out each [`Output`].
//!
//! - `wire`: Phoenix frames, payloads of events, answers of the read functions.
//! - `channel`: connecting, joining, heartbeats, retries; the status topic.
//! - `replica`: what was accepted, what is on disk, and the reads that bring both to the database's state.
//! - `files`: paths, hashes, the table of rows, the order of writes, and which files belong to a project.

// Most of what comes in here was sent by others, and a panic ends the agent.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod agent;
mod backoff;
mod channel;
mod codes;
mod context;
mod error_chain;
mod event;
mod files;
mod input;
mod output;
mod read;
mod renewal;
mod replica;
mod rng;
mod saved;
mod time;
pub mod wire;

pub use agent::Agent;
pub use backoff::Backoff;
pub use channel::DisconnectReason;
pub use codes::{
    CatchUpCause, ChannelState, DegradedReason, FileAction, PendingReason, Phase, RejectReason, SkipReason,
};
pub use error_chain::error_chain;
pub use event::Event;
pub use files::content_hash::{ContentHash, NotAHash};
pub use files::digest::TableDigest;
pub use files::operation::{BatchId, Content, Op, OpResult, Outcome, StageId};
pub use files::path::{MAX_COMPONENT, MAX_PARTS, MAX_PATH, PathError, ProjectPath};
pub use files::rules;
pub use input::{
    ChannelAccess, HydratedFile, Hydration, Input, LiveOptions, LocalChangePolicy, NewToken, Options, PhaseReport,
    Renewal, RenewalError, Restored, SocketEvent,
};
pub use output::{Output, PendingFile, Status};
pub use read::{Answer, Read, ReadError, ReadId};
pub use replica::LocalChange;
pub use rng::Rng;
pub use saved::{Saved, SavedError, SavedLocal, SavedRow};
pub use time::{Time, Timer, TimerReason};

/// A project's state number: each committed transaction that changes files is one revision.
pub type Revision = u64;
/// The number of one file's newest row: it rises with each row written for its path.
pub type Version = u64;
