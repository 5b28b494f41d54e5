//! A local stand-in for Supabase, in memory: the Realtime websocket, the functions that read and write a project's
//! files, storage with snapshots, and session renewal, with faults on request. `dev` and `serve` run on it, and the
//! integration tests. It shares nothing with the agent but the rules for paths: a codec of both would hide its own
//! mistakes.

mod arguments;
mod backend;
mod buckets;
mod chance;
mod control;
mod database_url;
mod digest;
mod download;
mod event;
mod faults;
mod functions;
mod listing;
mod memory;
mod multipart;
mod objects;
mod options;
mod policies;
mod postgres;
mod postgrest;
mod project;
mod reads;
mod realtime;
mod renewal;
mod rest;
mod rights;
mod row;
mod rpc;
mod server;
mod session;
mod sessions;
mod snapshots;
mod storage;
mod store;
mod store_error;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod writes;

pub use backend::Backend;
pub use chance::Chance;
pub use database_url::{DatabaseUrl, NoDatabaseUrl};
pub use faults::{Cut, FailReads, FailRenewal, FalseAnswer, FaultSettings, Faults, SnapshotFaults};
pub use options::{Options, SeedFile};
pub use realtime::Agents;
pub use row::{Bulk, BulkEntry, Change, ChangedFile, FileContent, Row};
pub use session::Session;
pub use store::Store;
pub use store_error::StoreError;
