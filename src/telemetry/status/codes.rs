//! The short codes of the agent's own parts, as they appear in `/status`, in labels of `/metrics` and in log lines.
//! `docs/operations.md` explains each. The other codes are enums beside what they are codes of: in `sync_core`
//! (`DegradedReason`, `DisconnectReason`, `PendingReason`, `CatchUpCause`, `RejectReason`, `SkipReason`, `FileAction`)
//! and in `supervisor::dev_server` (`FaultReason`, `InstallFailure`).

sync_core::code_enum! {
    /// A bound that was reached. Each has a defined behaviour beyond it.
    pub enum Limit {
        /// Events held while hydrating or catching up.
        HeldEvents = "held_events",
        /// Log lines waiting to be written.
        LogLines = "log_lines",
        /// Pages of a listing.
        Pages = "pages",
        /// Files written ahead of the database.
        ProvisionalEvents = "provisional_events",
        /// Restarts of the dev server.
        RestartBudget = "restart_budget",
    }
}

sync_core::code_enum! {
    /// A part of a hydration whose duration is measured.
    pub enum HydrationPart {
        /// Until the first byte of the snapshot.
        Wait = "wait",
        /// Extraction while the download runs.
        Extract = "extract",
        /// Moving the files into place.
        Place = "place",
        /// All of it.
        Total = "total",
    }
}

sync_core::code_enum! {
    /// Why the preview is not ready: it tells a broken agent from a project that does not start.
    pub enum NotReadyCause {
        /// The project's files are not in place: the snapshot, the database or the disk.
        Files = "files",
        /// The files are in place; the install or the dev server has not ended with an error.
        Starting = "starting",
        /// The project's install or dev server failed.
        Project = "project",
        /// The agent ends.
        Stopping = "stopping",
    }
}

sync_core::code_enum! {
    /// A step of the start, with its time in `boot_ms` of `/status`.
    pub enum BootStep {
        /// The settings are checked.
        Config = "config",
        /// The project's files are in place.
        Hydrated = "hydrated",
        /// The package manager was started.
        InstallStart = "install_start",
        /// The dependencies are installed.
        InstallDone = "install_done",
        /// The dev server was started.
        DevServerStart = "dev_server_start",
        /// The dev server has answered.
        DevServerReady = "dev_server_ready",
        /// The project's channel is joined.
        ChannelJoined = "channel_joined",
        /// The directory equals the database.
        InSync = "in_sync",
    }
}
