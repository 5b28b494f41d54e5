use crate::retries::End;

/// Why the channel is not joined any more, or was not joined when it was tried; its name is a short code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// No connection came about, or it broke.
    Unreachable,
    /// The server closed the socket.
    Closed,
    /// The upgrade was refused: neither for the token, nor for numbers, nor by a fault of the server.
    Refused,
    /// The upgrade was answered with a fault of the server (500 and above).
    ServerFault,
    /// The server has too many connections or joins.
    Crowded,
    /// The token is not accepted, or no longer.
    Token,
    /// The join was refused for another reason.
    JoinRefused,
    /// The server closed the channel, or said that it failed.
    ChannelClosed,
    /// The server's process of the channel crashed.
    ChannelCrashed,
    /// No answer to the upgrade in time.
    ConnectTimeout,
    /// No answer to the join in time.
    JoinTimeout,
    /// No answer to the heartbeat in time.
    HeartbeatTimeout,
    /// Joined, and yet the database is ahead: joined once more to wake the server's stream.
    Silent,
    /// The machine slept.
    Suspended,
}

impl Loss {
    /// Every one of them.
    pub const ALL: [Loss; 14] = [
        Loss::Unreachable,
        Loss::Closed,
        Loss::Refused,
        Loss::ServerFault,
        Loss::Crowded,
        Loss::Token,
        Loss::JoinRefused,
        Loss::ChannelClosed,
        Loss::ChannelCrashed,
        Loss::ConnectTimeout,
        Loss::JoinTimeout,
        Loss::HeartbeatTimeout,
        Loss::Silent,
        Loss::Suspended,
    ];

    /// The code used in logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Loss::Unreachable => "unreachable",
            Loss::Closed => "closed",
            Loss::Refused => "refused",
            Loss::ServerFault => "server_fault",
            Loss::Crowded => "crowded",
            Loss::Token => "token",
            Loss::JoinRefused => "join_refused",
            Loss::ChannelClosed => "channel_closed",
            Loss::ChannelCrashed => "channel_crashed",
            Loss::ConnectTimeout => "connect_timeout",
            Loss::JoinTimeout => "join_timeout",
            Loss::HeartbeatTimeout => "heartbeat_timeout",
            Loss::Silent => "silent",
            Loss::Suspended => "suspended",
        }
    }

    /// What a server's reason speaks of, where it is one of these two: of the token (`Token has expired 5 seconds
    /// ago`, `InvalidJWTToken: …`, `:signature_error`, `Failed to validate JWT signature`), or of too many of us.
    pub(crate) fn spoken_of(reason: &str) -> Option<Loss> {
        let reason = reason.to_ascii_lowercase();
        if ["token", "jwt", "signature"].iter().any(|word| reason.contains(word)) {
            return Some(Loss::Token);
        }
        // Not so `Too many messages per second`: that is about one sender.
        let crowded = ["too many joins", "too many connected"].iter().any(|words| reason.contains(words));
        crowded.then_some(Loss::Crowded)
    }

    /// How to come back after it; none where a new token must come first.
    pub(crate) fn end(self) -> Option<End> {
        match self {
            Loss::Token | Loss::Suspended => None,
            Loss::Crowded => Some(End::Crowded),
            Loss::Unreachable
            | Loss::Closed
            | Loss::ServerFault
            | Loss::ConnectTimeout
            | Loss::JoinTimeout
            | Loss::HeartbeatTimeout => Some(End::Lost),
            Loss::Refused | Loss::JoinRefused | Loss::ChannelClosed | Loss::ChannelCrashed | Loss::Silent => {
                Some(End::Told)
            }
        }
    }
}
