//! What is on the wire: Phoenix frames, payloads of events, and answers of the read functions. No other module knows
//! their JSON or their binary form.

pub(crate) mod answer;
mod binary;
mod client;
pub(crate) mod event_payload;
mod server;
pub(crate) mod timestamp;

pub use client::{ClientMessage, JoinConfig, Push};
pub use event_payload::ProjectEvent;
pub use server::{FrameError, MAX_FRAME, ServerMessage};
pub use timestamp::rfc3339_of;

/// The topic of heartbeats.
pub const PHOENIX: &str = "phoenix";

/// The serializer, requested with `vsn`.
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

crate::code_enum! {
    /// An event that the agent publishes on the status topic.
    pub enum StatusEvent {
        /// The phase or the dev server's state changed.
        Status = "preview:status",
        /// Something of the database was written to disk.
        Applied = "preview:applied",
        /// A problem of the preview opened, or was counted again.
        Problem = "preview:problem",
        /// A problem ended.
        Resolved = "preview:resolved",
        /// The verdict of the newest revision changed.
        Verdict = "preview:verdict",
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
