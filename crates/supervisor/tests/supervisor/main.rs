//! The supervisor with real package managers, dev servers and processes.
#![cfg(unix)]

mod dependencies;
mod dev_server;
mod harness;
mod vite;
