//! Phoenix frames: the only place that knows their JSON and their binary form.

mod binary;
mod client;
mod server;

pub use client::{ClientMessage, JoinConfig, Push};
pub use server::{FrameError, MAX_FRAME, ServerMessage};

/// The topic of heartbeats.
pub const PHOENIX: &str = "phoenix";

/// The serializer asked for with `vsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolVersion {
    /// `1.0.0`: JSON objects.
    V1,
    /// `2.0.0`: JSON arrays, and binary frames for broadcasts.
    #[default]
    V2,
}

impl ProtocolVersion {
    /// The value of the query parameter `vsn`.
    pub fn vsn(self) -> &'static str {
        match self {
            ProtocolVersion::V1 => "1.0.0",
            ProtocolVersion::V2 => "2.0.0",
        }
    }
}

/// The wire topic of a project's events.
pub fn project_topic(project_id: &str) -> String {
    format!("realtime:project:{project_id}")
}

/// The wire topic on which the agent publishes its status.
pub fn status_topic(project_id: &str) -> String {
    format!("realtime:project:{project_id}:status")
}
