//! The tests of the local backend, linked as one program. `conformance` compares both stores, the other modules test one.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

mod conformance;
mod events;
mod faults;
mod functions;
mod postgres;
mod postgres_setup;
mod recordings;
mod rooms;
mod sessions;
mod supabase_js;
mod support;
