use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FaultRate;

/// Every fault that can be switched on, as `GET /_local/faults` shows it. `POST` changes the fields that it names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSettings {
    /// Database broadcasts that no channel gets.
    pub drop_broadcasts: FaultRate,
    /// Database broadcasts that are sent twice.
    pub double_broadcasts: FaultRate,
    /// Database broadcasts that are sent after the next one, or after 200 ms.
    pub reorder_broadcasts: FaultRate,
    /// Delay of every broadcast, in milliseconds.
    pub delay_broadcasts_ms: u64,
    /// Channels stay joined and heartbeats are answered, but neither broadcasts nor rows arrive.
    pub stall_streams: bool,
    /// Nothing is read and nothing is answered on a websocket, while TCP stays open.
    pub freeze_sockets: bool,
    /// New websockets are refused with this status; 0 closes TCP without an answer.
    pub refuse_connections: Option<u16>,
    /// New websockets are refused with 403 as for a suspended tenant.
    pub suspend_tenant: bool,
    /// Joins are refused with this reason, as it is.
    pub refuse_joins: Option<String>,
    /// Joins that fail as the real server's do.
    pub fail_joins: Option<FailJoins>,
    /// Joins with `replication_ready` get no stream: after the real server's 60 seconds the channel is closed with an error.
    pub withhold_replication: bool,
    /// Reads show a transaction only this many milliseconds after its event was sent, as a replica or a waiting synchronous
    /// standby makes it. In memory only: over a PostgreSQL, `synchronous_standby_names` does it.
    pub visible_after_ms: u64,
    /// The read functions and storage answer with an error.
    pub fail_reads: Option<FailReads>,
    /// Delay of every answer to a read, in milliseconds.
    pub delay_reads_ms: u64,
    /// Answers in place of a read function's own, by its name.
    pub answers: BTreeMap<String, FakeAnswer>,
    /// Faults of a snapshot's download.
    pub snapshot: SnapshotFaults,
    /// Renewals fail.
    pub fail_renewal: Option<FailRenewal>,
    /// Rows at which a page of `list_project_changes` ends, in place of `max_rows`.
    pub page_rows: Option<u32>,
    /// Writes by the functions that are refused with `PT429`.
    pub too_many_writes: FaultRate,
    /// The database has only `list_current_files` for reading, and its events have no revision.
    pub legacy_database: bool,
}

/// Reads that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailReads {
    /// HTTP status: 401 looks like an expired token, 429 has `Retry-After: 1`; 0 closes TCP without an answer.
    pub status: u16,
    /// How often.
    pub chance: FaultRate,
}

/// Joins that fail as the real server's do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailJoins {
    /// What fails.
    pub error: JoinError,
    /// How often.
    pub chance: FaultRate,
}

/// Errors that the real server answers a join with for reasons of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinError {
    /// The day's partition of `realtime.messages` does not exist yet: the first join of a tenant.
    MissingPartition,
    /// Too many joins a second. The socket is closed after the answer.
    JoinRateLimit,
    /// The registration of the socket in the cluster timed out.
    MusterJoin,
}

impl JoinError {
    /// Every error.
    pub const ALL: [JoinError; 3] = [JoinError::MissingPartition, JoinError::JoinRateLimit, JoinError::MusterJoin];

    /// The reason in the answer, as the real server gives it.
    pub fn reason(self) -> &'static str {
        match self {
            JoinError::MissingPartition => {
                "MissingPartition: Realtime was unable to find the expected messages partition"
            }
            JoinError::JoinRateLimit => "ClientJoinRateLimitReached: Too many joins per second",
            JoinError::MusterJoin => "MusterJoinError: timed out after 4000ms",
        }
    }
}

/// A false answer of a read function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeAnswer {
    /// The JSON of the answer.
    pub body: Value,
    /// How often.
    pub chance: FaultRate,
}

/// Renewals that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRenewal {
    /// HTTP status; 401, 403 and 410 are final by the contract.
    pub status: u16,
    /// How often.
    pub chance: FaultRate,
}

/// Faults of a snapshot's download; all but `no_range` happen at most as often as `chance` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotFaults {
    /// Answer with this HTTP status.
    pub status: Option<u16>,
    /// Close TCP after this many bytes of the body.
    pub truncate_at: Option<u64>,
    /// Send nothing more after this many bytes of the body.
    pub stall_at: Option<u64>,
    /// Flip the bits of the byte at this offset of the file.
    pub wrong_byte_at: Option<u64>,
    /// Ignore ranges: answer 200 with the whole file.
    pub no_range: bool,
    /// How often the faults above happen.
    pub chance: FaultRate,
}
