//! The supervisor with real package managers, dev servers and processes.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]
#![cfg(unix)]

mod dependencies;
mod dev_server;
mod harness;
mod placement;
mod vite;
