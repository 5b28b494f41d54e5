//! The heart of preview-agent: what a project's directory should hold, and how a Realtime channel is kept joined.
//!
//! Nothing here does I/O, reads a clock or draws a random number. A shell tells [`Agent`] what happened ([`Input`]),
//! at a [`Time`] it measured, and carries out what the agent answers ([`Output`]).

mod agent;
mod answer;
mod backoff;
mod change;
mod channel;
mod content_hash;
mod cx;
mod digest;
mod disk;
mod error_chain;
mod event;
pub mod frame;
mod heartbeat;
mod held;
mod input;
mod local;
mod loss;
mod op;
mod output;
mod path;
mod plan;
mod publisher;
mod read;
mod renewal;
mod replica;
mod retries;
mod rng;
mod saved;
mod status_channel;
mod table;
mod time;
mod timestamp;
mod wish;
mod wishes;

pub use agent::Agent;
pub use content_hash::{ContentHash, NotAHash};
pub use digest::TableDigest;
pub use error_chain::error_chain;
pub use event::{Event, Reason};
pub use input::{HydratedFile, Hydration, Input, Options, Phase, Renewal, RenewalError, Restored, SocketEvent};
pub use local::LocalChange;
pub use loss::Loss;
pub use op::{BatchId, Content, Op, Outcome, StageId, Written};
pub use output::{Output, Status};
pub use path::{PathError, ProjectPath};
pub use read::{Answer, Read, ReadError, ReadId};
pub use saved::{Saved, SavedError, SavedLocal, SavedRow};
pub use time::Time;

/// A project's state number: each committed transaction that changes files is one revision.
pub type Revision = u64;
/// A file's own number, rising with each row written for its path.
pub type Version = u64;
