//! The command line: arguments, the checked configuration, the exit status.

pub mod arguments;
pub mod config;
pub mod exit;
pub mod health_command;
pub mod snapshot_command;
