//! The real binary, and the shells that it is made of, from outside. One program, so that it is linked once;
//! `cargo test --test agent live::` runs one of its files.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

mod bad_input;
mod bulk_crash;
mod command_line;
#[cfg(target_os = "linux")]
mod confinement;
mod database_loop;
mod dev_copy;
mod dev_watch;
#[cfg(all(unix, feature = "local"))]
mod documentation;
#[cfg(feature = "local")]
mod edge;
#[cfg(feature = "local")]
mod editors;
mod faults;
#[cfg(feature = "local")]
mod functions;
mod hydration;
#[cfg(feature = "local")]
mod late_commits;
mod live;
mod local_changes;
mod net;
mod operators;
#[cfg(feature = "local")]
mod preview_projects;
mod preview_proxy;
mod problems;
#[cfg(feature = "local")]
mod protocol;
mod restart;
mod rooms;
#[cfg(feature = "local")]
mod security_table;
mod seen;
mod serve;
mod snapshot_archives;
mod snapshot_build;
mod snapshot_download;
mod snapshot_support;
mod status_port;
mod support;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod trust;
#[cfg(target_os = "linux")]
mod untrusted_files;
