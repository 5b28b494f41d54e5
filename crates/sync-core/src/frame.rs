//! Phoenix frames: the only place that knows their JSON and their binary form.

/// The serializer asked for with `vsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolVersion {
    /// `1.0.0`: JSON objects.
    V1,
    /// `2.0.0`: JSON arrays, and binary frames for broadcasts.
    #[default]
    V2,
}

/// Something the agent says to the server.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {}

impl ClientMessage {
    /// The text frame, with `token` where the message needs one.
    pub fn encode(&self, token: &str) -> String {
        token.to_owned()
    }
}
