//! The shells that keep the directory equal to the database: snapshot, workspace, reads, channel, saved state.
//!
//! Imports go one way: `snapshot`, `workspace`, `database`, `realtime` and `state` use `files`, `folder`, `http`, `net`,
//! `private_dir`, `scrub` and `token`, which use none of them. `database` also stages downloads in the workspace's stage. Nothing here
//! imports `cli`, `run`, `telemetry` or `dev`.
// What comes from the network, an archive or the project must not end the agent: it is built to abort at a panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

pub mod database;
pub mod file_modes;
pub mod files;
pub mod folder;
pub mod http;
pub mod jitter;
pub mod net;
pub mod private_dir;
pub mod realtime;
pub mod scrub;
pub mod snapshot;
pub mod state;
pub mod token;
pub mod trusted_path;
pub mod workspace;

#[cfg(test)]
mod error_chains;
