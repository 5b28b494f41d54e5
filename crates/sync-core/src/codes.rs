//! Short codes: what appears in logs, `/status` and labels of `/metrics`. `docs/operations.md` explains each.

/// Declares an enum whose variants have a fixed short code each, with `ALL`, `as_str` and `Display`.
///
/// ```
/// sync_core::code_enum! {
///     /// Why a door is closed.
///     pub enum Closed {
///         /// Someone locked it.
///         Locked = "locked",
///         /// It is stuck.
///         Stuck = "stuck",
///     }
/// }
/// assert_eq!(Closed::ALL.map(Closed::as_str), ["locked", "stuck"]);
/// assert_eq!(Closed::Stuck.to_string(), "stuck");
/// ```
#[macro_export]
macro_rules! code_enum {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $code:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: [$name; [$($code),+].len()] = [$($name::$variant),+];

            /// The code, as logs, `/status` and metrics show it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $code,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

code_enum! {
    /// What the agent is doing, as `/status` and the status topic show it.
    #[derive(Default)]
    pub enum Phase {
        /// Settings are checked; nothing is known of the project yet.
        #[default]
        Starting = "starting",
        /// The snapshot is being downloaded and extracted.
        Hydrating = "hydrating",
        /// The project's files are in place; its dependencies are not.
        Installing = "installing",
        /// The dev server runs, or is being started again.
        Serving = "serving",
        /// The process received a signal and is shutting down.
        Stopping = "stopping",
        /// Nothing can work; the process is about to exit.
        Failed = "failed",
    }
}

code_enum! {
    /// How far the project's channel is.
    #[derive(Default)]
    pub enum ChannelState {
        /// There is no channel: the agent runs without live updates.
        #[default]
        Off = "off",
        /// Waiting for the next attempt, or for a new token.
        Disconnected = "disconnected",
        /// The websocket is being opened.
        Connecting = "connecting",
        /// The join was sent and not answered yet.
        Joining = "joining",
        /// Events arrive.
        Joined = "joined",
    }
}

code_enum! {
    /// Why the agent is not in full health.
    pub enum DegradedReason {
        /// The project's channel is not joined.
        ChannelDown = "channel_down",
        /// The database has a newer revision that no event announced.
        Behind = "behind",
        /// At least one file was accepted and could not be written.
        PendingFiles = "debts",
        /// An event announced a revision that the database does not show yet.
        CommitNotVisible = "commit_not_visible",
        /// The database's newest revision was not read for 60 s: whether the project is current is unknown.
        HeadUnknown = "head_unknown",
        /// The database's stored digest is not that of its own files.
        DigestWrong = "digest_wrong",
        /// Reads of the database fail repeatedly.
        ReadsFailing = "reads_failing",
        /// The database has only the legacy listing function.
        LegacyDatabase = "older_database",
        /// The session endpoint refused to renew the token, for good.
        RenewalRefused = "renewal_refused",
        /// The token expired, or the server rejected it and it cannot be renewed.
        TokenExpired = "token_expired",
        /// The state directory cannot be used.
        StateNotKept = "state_not_kept",
        /// There is no Supabase URL or no token.
        NoLiveUpdates = "no_live_updates",
    }
}

impl DegradedReason {
    /// What to do about it, in one sentence without a full stop; `docs/operations.md` has the same text.
    pub const fn advice(self) -> &'static str {
        match self {
            DegradedReason::ChannelDown => {
                "nothing for one machine; for many, look at Realtime's status and join limits"
            }
            DegradedReason::Behind => "nothing, unless it stays: then `reads_failing` shows why",
            DegradedReason::CommitNotVisible => {
                "nothing, unless it is frequent: then a read replica or a synchronous standby is slow"
            }
            DegradedReason::HeadUnknown => {
                "look at the network between the machine and the database, and at `reads_failing`"
            }
            DegradedReason::PendingFiles => "`/status` names each file and its reason",
            DegradedReason::DigestWrong => "recompute the digest in the database; the files are right meanwhile",
            DegradedReason::ReadsFailing => "look at the database and at the token's rights",
            DegradedReason::LegacyDatabase => "apply the migrations",
            DegradedReason::RenewalRefused => "end the machine, or start a new session",
            DegradedReason::TokenExpired => "look at `SESSION_URL`",
            DegradedReason::StateNotKept => "give it a writable `STATE_DIR`, or accept a full start each time",
            DegradedReason::NoLiveUpdates => "set `SUPABASE_URL` and `REALTIME_TOKEN`, if updates are wanted",
        }
    }
}

code_enum! {
    /// Why the changes that the agent may have missed were read from the database.
    pub enum CatchUpCause {
        /// An event could not be decoded.
        BadEvent = "bad_event",
        /// The head stayed above the known revision and no event arrived.
        Behind = "behind",
        /// The database has no `project_head`: it is compared at intervals.
        Compare = "compare",
        /// An event announced a revision that the database did not show yet.
        CommitNotVisible = "commit_not_visible",
        /// The content of an event did not match its hash.
        ContentHash = "content_hash",
        /// The digests differ at the same revision.
        Digest = "digest",
        /// As `digest`, repeated because the first listing had several pages.
        DigestAgain = "digest_again",
        /// An event's revision was not the next one.
        Gap = "gap",
        /// The head fell below the known revision.
        HeadBelow = "head_below",
        /// More events were held than memory allows.
        HeldTooMany = "held_too_many",
        /// The snapshot is in place.
        Hydrated = "hydrated",
        /// An event did not list all of its files, or not whole.
        IncompleteEvent = "incomplete_event",
        /// The channel was joined.
        Joined = "joined",
        /// A provisional event had no content.
        NoContent = "no_content",
        /// A provisional event had no version.
        NoVersion = "no_version",
        /// A provisional file has to be confirmed.
        Provisional = "provisional",
        /// More provisional files were announced than memory allows.
        ProvisionalTooMany = "provisional_too_many",
        /// The database was reset to an earlier revision.
        Reset = "reset",
        /// The agent continues from saved state.
        Restored = "restored",
        /// A row of `project_files` changed (`postgres_changes`).
        RowChanged = "row_changed",
        /// A newer snapshot exists.
        SnapshotReady = "snapshot_ready",
        /// A version that had to be fetched does not exist any more.
        VersionGone = "version_gone",
    }
}

code_enum! {
    /// What kind of input was rejected.
    pub enum RejectReason {
        /// The answer of a read function.
        Answer = "answer",
        /// Content that does not match its hash.
        ContentHash = "content_hash",
        /// The payload of an event.
        Event = "event",
        /// A websocket frame.
        Frame = "frame",
        /// Pages of a listing that do not end or do not progress.
        Pages = "pages",
        /// A path that must not be written.
        Path = "path",
        /// The subscription to `postgres_changes`.
        PostgresChanges = "postgres_changes",
    }
}

code_enum! {
    /// Why an input changed nothing. None of these is an error.
    pub enum SkipReason {
        /// The bound on held events was reached: all of them were dropped and are read instead.
        HeldTooMany = "held_too_many",
        /// The files were already in place.
        HydratedTwice = "hydrated_twice",
        /// The event did not list all of its files, or not whole.
        Incomplete = "incomplete",
        /// A provisional event without content.
        NoContent = "no_content",
        /// A provisional event without version.
        NoVersion = "no_version",
        /// The event is at or below the known revision or version.
        Old = "old",
        /// A fetched version has another hash than the accepted row.
        OtherContent = "other_content",
        /// A message of a topic that the agent did not join.
        OtherTopic = "other_topic",
        /// The bound on provisional files was reached.
        ProvisionalTooMany = "provisional_too_many",
        /// An answer that would remove over half of the files was asked for a second time.
        RemovalAskedAgain = "removal_asked_again",
        /// A renewal ended that was not asked for.
        UnaskedRenewal = "unasked_renewal",
        /// A batch ended that is not running.
        UnknownBatch = "unknown_batch",
        /// An event whose name is not known.
        UnknownEvent = "unknown_event",
        /// A frame whose event is not known.
        UnknownFrame = "unknown_frame",
        /// A read ended that is not running.
        UnknownRead = "unknown_read",
        /// An event whose revision no read could reach.
        Unreachable = "unreachable",
    }
}

code_enum! {
    /// Why a file that was accepted is not on disk yet.
    pub enum PendingReason {
        /// Another file of the project has the same name on this disk, which ignores case.
        CaseConflict = "case_conflict",
        /// The content could not be read from the database.
        FetchFailed = "fetch_failed",
        /// The content is being read from the database.
        Fetching = "fetching",
        /// The database does not have this version any more.
        Gone = "gone",
        /// An input or output error of the disk.
        Io = "io",
        /// A directory that is not empty has the file's name.
        IsADirectory = "is_a_directory",
        /// The disk or the quota is full.
        NoSpace = "no_space",
        /// A file has the name of a directory on the path.
        NotADirectory = "not_a_directory",
        /// The agent may not write there.
        PermissionDenied = "permission_denied",
        /// Written ahead of the database and not confirmed yet.
        Provisional = "provisional",
        /// Two reads agree with each other and not with the hash.
        Unverifiable = "unverifiable",
    }
}

code_enum! {
    /// What happened to a file on disk.
    pub enum FileAction {
        /// The file was removed.
        Deleted = "deleted",
        /// The file was created or replaced.
        Updated = "updated",
    }
}
