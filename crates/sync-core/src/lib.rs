//! The heart of preview-agent: what a project's directory should hold, and how a Realtime channel is kept joined.
//!
//! Nothing here does I/O, reads a clock or draws a random number. A shell tells [`Agent`] what happened ([`Input`]),
//! at a [`Time`] it measured, and carries out what the agent answers ([`Output`]).

mod agent;
mod content_hash;
mod event;
pub mod frame;
mod op;
mod path;
mod read;
mod time;

pub use agent::{Agent, HydratedFile, Hydration, Input, Options, Output, Renewal, RenewalError, SocketEvent, Status};
pub use content_hash::{ContentHash, NotAHash};
pub use event::{Event, Reason};
pub use op::{BatchId, Content, Op, Outcome, StageId, Written};
pub use path::{PathError, ProjectPath};
pub use read::{Answer, Read, ReadError, ReadId};
pub use time::Time;

/// A project's state number: each committed transaction that changes files is one revision.
pub type Revision = u64;
/// A file's own number, rising with each row written for its path.
pub type Version = u64;
