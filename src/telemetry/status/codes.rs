//! The short codes of the agent's own parts, as they appear in `/status`, in labels of `/metrics` and in log lines.
//! `docs/operations.md` explains each. The other codes are enums beside what they are codes of: in `sync_core`
//! (`DegradedReason`, `DisconnectReason`, `PendingReason`, `CatchUpCause`, `RejectReason`, `SkipReason`, `FileAction`)
//! and in `supervisor::dev_server` (`Reason`).

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
