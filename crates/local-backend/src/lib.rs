//! A local stand-in for Supabase, in memory or over a PostgreSQL: the Realtime websocket, the functions that read and write a
//! project's files, storage with snapshots, and session renewal, with faults on request. `dev` and `serve` run on it, and
//! the integration tests.
//!
//! Rooms: `http` (routes and answers), `store` (the project's table with its rights, events and snapshots), `postgres` (the
//! database) and `realtime` (channels). `http` uses all others, `store` uses `postgres` and `realtime`, `postgres` uses
//! `realtime`. The modules beside them are used by all and use none; `lifecycle` connects the rooms. The crate shares only
//! the rules for paths with the agent: a codec used on both sides would hide its own mistakes.

mod agent_settings;
mod code;
mod database_url;
mod digest;
mod faults;
mod http;
mod lifecycle;
mod object_name;
mod options;
mod postgres;
mod realtime;
mod row;
mod store;
mod store_error;
#[cfg(feature = "testing")]
pub mod testing;
mod token;

pub use agent_settings::AgentSettings;
pub use database_url::{DatabaseUrl, InvalidDatabaseUrl};
pub use faults::{
    Cut, FailJoins, FailReads, FailRenewal, FakeAnswer, FaultRate, FaultSettings, Faults, JoinError, SnapshotFaults,
    Switch,
};
pub use lifecycle::Backend;
pub use options::{AnonKey, BackendOptions, ChannelRights, FaultApi, SeedFile};
pub use realtime::{AgentReports, Visibility};
pub use row::{Bulk, BulkEntry, Change, ChangedFile, FileContent, Head, Row};
pub use store::Store;
pub use store::project::PathRule;
pub use store::rights::Ownership;
pub use store_error::StoreError;
