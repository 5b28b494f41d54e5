//! The shells that keep the directory equal to the database: snapshot, workspace, reads, channel, saved state.

pub mod database;
pub mod net;
pub mod realtime;
pub mod scrub;
pub mod snapshot;
pub mod stamp;
pub mod state;
pub mod token;
pub mod workspace;
