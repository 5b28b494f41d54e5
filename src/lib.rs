//! The shells around [`sync_core`]: each touches one part of the outside world, and [`run`] wires them together.

pub mod clock;
pub mod config;
pub mod database;
pub mod dependencies;
#[cfg(feature = "local")]
pub mod dev;
pub mod dev_server;
pub mod exit;
pub mod init;
pub mod logs;
pub mod net;
pub mod process;
pub mod progress;
pub mod realtime;
pub mod report;
pub mod run;
pub mod scrub;
pub mod snapshot;
pub mod stamp;
pub mod state;
pub mod status;
pub mod token;
pub mod workspace;
