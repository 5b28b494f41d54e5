//! A local stand-in for Supabase, in memory: the Realtime websocket, the functions that read and write a project's
//! files, storage with snapshots, and session renewal, with faults on request. `dev` and `serve` run on it, and the
//! integration tests. It shares nothing with the agent but the rules for paths: a codec of both would hide its own
//! mistakes.

mod database_url;
mod digest;
mod faults;
mod http;
mod lifecycle;
mod options;
mod postgres;
mod realtime;
mod row;
mod session;
mod store;
mod store_error;
#[cfg(feature = "testing")]
pub mod testing;
mod token;

pub use database_url::{DatabaseUrl, NoDatabaseUrl};
pub use faults::{Chance, Cut, FailReads, FailRenewal, FalseAnswer, FaultSettings, Faults, SnapshotFaults};
pub use lifecycle::Backend;
pub use options::{Options, SeedFile};
pub use realtime::Agents;
pub use row::{Bulk, BulkEntry, Change, ChangedFile, FileContent, Row};
pub use session::Session;
pub use store::Store;
pub use store_error::StoreError;
