//! Child processes: installs a project's dependencies, runs its dev server, and waits for every child, also for
//! adopted ones where the agent is process 1.
//!
//! From the rest of the agent it needs a path type and the list of files that restart or install.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used)
)]

pub mod clock;
pub mod dependencies;
pub mod dev_server;
pub mod directory;
#[cfg(test)]
mod error_chains;
pub mod init;
pub mod package_json;
pub mod process;
pub mod tree_walk;
