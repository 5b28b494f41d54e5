//! The reverse proxy on the preview port. It answers from the first second: with a page that shows what the agent is
//! doing while there is no dev server to ask, and with the dev server's own answers once there is.
//!
//! It runs on a thread of its own, so that traffic never delays the applying of files. What it knows of the agent is one
//! [`View`], which the agent replaces when something changes.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used)
)]

mod access;
mod body;
mod document_start;
mod events;
mod forward;
mod frame_ancestors;
mod frames;
mod headers;
mod inject;
mod notices;
mod page;
mod page_script;
mod pool;
mod reply;
mod reports;
mod server;
mod service;
mod settings;
mod upgrade;
mod view;

pub use access::AccessToken;
pub use frame_ancestors::{FrameAncestors, FrameAncestorsError};
pub use listener::{HostError, Hosts};
pub use server::{Proxy, start};
pub use settings::{Limits, Settings};
pub use view::{Lines, Progress, Reason, Stage, Upstream, View};

/// Paths below it belong to the agent and are never passed on.
pub const PREFIX: &str = "/.preview-agent/";
