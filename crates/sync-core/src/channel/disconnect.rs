use super::retries::RetryClass;

crate::code_enum! {
    /// Why the channel is not joined any more, or an attempt to join it failed.
    pub enum DisconnectReason {
        /// The connection could not be opened, or it broke.
        Unreachable = "unreachable",
        /// The server closed the socket.
        Closed = "closed",
        /// The upgrade was refused, not because of the token, a rate limit or a fault of the server.
        UpgradeRefused = "refused",
        /// The upgrade was answered with a fault of the server (500 and above).
        ServerFault = "server_fault",
        /// The server has too many connections or joins.
        RateLimited = "crowded",
        /// The token was not accepted, or expired.
        TokenRejected = "token",
        /// The join was refused for another reason.
        JoinRefused = "join_refused",
        /// The server closed the channel, or reported that it failed.
        ChannelClosed = "channel_closed",
        /// The server's process of the channel crashed.
        ChannelCrashed = "channel_crashed",
        /// The upgrade was not answered in time.
        ConnectTimeout = "connect_timeout",
        /// The join was not answered in time.
        JoinTimeout = "join_timeout",
        /// The heartbeat was not answered in time.
        HeartbeatTimeout = "heartbeat_timeout",
        /// Joined, while the database is ahead: joined once more, so that the server opens its stream again.
        Silent = "silent",
        /// The machine was suspended.
        Suspended = "suspended",
    }
}

impl DisconnectReason {
    /// What a server's text is about, where it is one of two things: the token (`Token has expired 5 seconds ago`,
    /// `InvalidJWTToken: …`, `:signature_error`, `Failed to validate JWT signature`), or a rate limit.
    pub(super) fn classify_server_reason(reason: &str) -> Option<DisconnectReason> {
        let reason = reason.to_ascii_lowercase();
        if ["token", "jwt", "signature"].iter().any(|word| reason.contains(word)) {
            return Some(DisconnectReason::TokenRejected);
        }
        // Not so `Too many messages per second`: that is about one sender.
        let limited = ["too many joins", "too many connected"].iter().any(|words| reason.contains(words));
        limited.then_some(DisconnectReason::RateLimited)
    }

    /// How fast to try again after it; `None` where a new token must come first.
    pub(super) fn retry_class(self) -> Option<RetryClass> {
        match self {
            DisconnectReason::TokenRejected | DisconnectReason::Suspended => None,
            DisconnectReason::RateLimited => Some(RetryClass::RateLimited),
            DisconnectReason::Unreachable
            | DisconnectReason::Closed
            | DisconnectReason::ServerFault
            | DisconnectReason::ConnectTimeout
            | DisconnectReason::JoinTimeout
            | DisconnectReason::HeartbeatTimeout => Some(RetryClass::Unreachable),
            DisconnectReason::UpgradeRefused
            | DisconnectReason::JoinRefused
            | DisconnectReason::ChannelClosed
            | DisconnectReason::ChannelCrashed
            | DisconnectReason::Silent => Some(RetryClass::Rejected),
        }
    }
}
