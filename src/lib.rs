//! The shells around [`sync_core`]: each touches one part of the outside world, and [`run`] connects them.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used)
)]

pub mod cli;
pub mod command_line;
#[cfg(feature = "local")]
pub mod dev;
pub mod run;
pub mod sync;
pub mod telemetry;
