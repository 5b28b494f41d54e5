//! The shells that keep the directory equal to the database: snapshot, workspace, reads, channel, saved state.

pub mod database;
pub mod files;
pub mod folder;
pub mod net;
pub mod realtime;
pub mod scrub;
pub mod snapshot;
pub mod state;
pub mod token;
pub mod workspace;
