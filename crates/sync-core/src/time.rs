use std::time::Duration;

/// Monotonic time since the agent started. The caller measures it; the core only compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

impl Time {
    /// The time `later` after this one.
    pub fn after(self, later: Duration) -> Time {
        Time(self.0.saturating_add(later))
    }

    /// How long ago `earlier` was; zero where it is in the future.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A time at which the agent has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When.
    pub at: Time,
    /// What for.
    pub reason: TimerReason,
}

crate::code_enum! {
    /// Everything that the core waits for by the clock.
    pub enum TimerReason {
        /// The websocket's upgrade has no answer.
        ConnectTimeout = "connect_timeout",
        /// The join has no answer.
        JoinTimeout = "join_timeout",
        /// Joined, and the message that the stream is ready did not come.
        StreamReadyTimeout = "stream_ready_timeout",
        /// The next heartbeat is due.
        Heartbeat = "heartbeat",
        /// The last heartbeat has no answer.
        HeartbeatTimeout = "heartbeat_timeout",
        /// The next attempt to connect or join.
        ChannelRetry = "channel_retry",
        /// A new token was awaited for long enough.
        TokenWaitTimeout = "token_wait_timeout",
        /// The channel was joined for long enough to count as stable.
        ChannelStable = "channel_stable",
        /// The join of the status topic has no answer.
        StatusJoinTimeout = "status_join_timeout",
        /// The next attempt to join the status topic.
        StatusRetry = "status_retry",
        /// `preview:applied` may be published again.
        PublishApplied = "publish_applied",
        /// The token is to be renewed.
        TokenRenewal = "token_renewal",
        /// The token expires.
        TokenExpiry = "token_expiry",
        /// A catch-up, or its next page, is due.
        CatchUp = "catch_up",
        /// The head is to be read.
        HeadPoll = "head_poll",
        /// The newest view of the head becomes too old.
        HeadExpiry = "head_expiry",
        /// The head was above the known revision for too long.
        BehindTimeout = "behind_timeout",
        /// A provisional file is to be confirmed.
        ConfirmProvisional = "confirm_provisional",
        /// The next comparison with the legacy listing.
        LegacyCompare = "legacy_compare",
        /// A local change is to be put back.
        RestoreLocalChange = "restore_local_change",
        /// A fetch or a write is to be tried again.
        FileRetry = "file_retry",
        /// A bulk waited long enough for content that has to be fetched.
        BulkTimeout = "bulk_timeout",
    }
}

impl TimerReason {
    /// A timer for this reason.
    pub(crate) fn at(self, at: Time) -> Timer {
        Timer { at, reason: self }
    }
}

/// The earliest of the timers that are set.
pub(crate) fn earliest(timers: impl IntoIterator<Item = Option<Timer>>) -> Option<Timer> {
    timers.into_iter().flatten().min()
}
