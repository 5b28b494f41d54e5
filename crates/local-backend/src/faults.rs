mod rate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

pub use rate::Chance;
use rate::Random;

/// Every fault that can be switched on, as `GET /_local/faults` shows it. `POST` changes the fields that it names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSettings {
    /// Database broadcasts that reach nobody.
    pub drop_broadcasts: Chance,
    /// Database broadcasts that arrive twice.
    pub double_broadcasts: Chance,
    /// Database broadcasts held until the next one has overtaken them, or for 200 ms.
    pub reorder_broadcasts: Chance,
    /// How late every broadcast is.
    pub delay_broadcasts_ms: u64,
    /// Joined, heartbeats answered, neither broadcasts nor rows arrive.
    pub deaf: bool,
    /// Nothing is read and nothing is answered on a websocket, while TCP stands.
    pub silent: bool,
    /// New websockets are refused with this status; 0 closes TCP without an answer.
    pub refuse_connections: Option<u16>,
    /// Joins are refused with this reason.
    pub refuse_joins: Option<String>,
    /// The read functions and the objects of storage answer with an error.
    pub fail_reads: Option<FailReads>,
    /// How late every read is answered.
    pub delay_reads_ms: u64,
    /// Answers given in place of a read function's own, by its name.
    pub answers: BTreeMap<String, FalseAnswer>,
    /// What goes wrong with a snapshot's download.
    pub snapshot: SnapshotFaults,
    /// What renewal answers with instead.
    pub fail_renewal: Option<FailRenewal>,
    /// Rows at which a page of `list_project_changes` ends, in place of `max_rows`.
    pub page_rows: Option<u32>,
    /// Writes by the functions that are refused with `PT429`.
    pub too_many_writes: Chance,
    /// The database has only `list_current_files` to read with, and its events carry no revision.
    pub older_database: bool,
}

/// Reads that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailReads {
    /// 401 comes as an expired token, 429 with `Retry-After: 1`, all else with a plain body; 0 closes TCP without an answer.
    pub status: u16,
    /// How often.
    pub chance: Chance,
}

/// A read function that lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalseAnswer {
    /// The JSON that it gives.
    pub body: Value,
    /// How often.
    pub chance: Chance,
}

/// Renewals that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRenewal {
    /// 401, 403 and 410 are final by the contract.
    pub status: u16,
    /// How often.
    pub chance: Chance,
}

/// What goes wrong with a snapshot's download; each fault at most as often as `chance` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotFaults {
    /// Answer with this status.
    pub status: Option<u16>,
    /// Close TCP after so many bytes of the body.
    pub truncate_at: Option<u64>,
    /// Send nothing more after so many bytes of the body.
    pub stall_at: Option<u64>,
    /// Flip the bits of the byte at this offset of the file.
    pub wrong_byte_at: Option<u64>,
    /// Know nothing of ranges: answer 200 with the whole file.
    pub no_range: bool,
    /// How often the faults above strike.
    pub chance: Chance,
}

/// How sockets are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// TCP ends without a close frame (1006).
    Abruptly,
    /// A close frame with this code.
    Code(u16),
    /// As when a tenant is reloaded: `system` "Server requested disconnect", then 1012.
    Reload,
}

/// The switchboard of a running backend. Clones switch the same.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    cuts: broadcast::Sender<Cut>,
    deafened: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

struct State {
    settings: FaultSettings,
    random: Random,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        Faults(Arc::new(Shared {
            state: Mutex::new(State { settings: FaultSettings::default(), random: Random(1) }),
            cuts: broadcast::Sender::new(16),
            deafened: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }))
    }

    /// The seed of every probability from now on; 1 at the start.
    pub fn seed(&self, seed: u64) {
        self.lock().random = Random(seed);
    }

    /// What is switched on.
    pub fn settings(&self) -> FaultSettings {
        self.lock().settings.clone()
    }

    /// Switches exactly this on.
    pub fn set(&self, settings: FaultSettings) {
        self.change(|all| *all = settings);
    }

    /// Changes some faults and leaves the others as they are.
    pub fn change(&self, change: impl FnOnce(&mut FaultSettings)) {
        change(&mut self.lock().settings);
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Switches everything off.
    pub fn clear(&self) {
        self.set(FaultSettings::default());
    }

    /// Drops database broadcasts.
    pub fn drop_broadcasts(&self, chance: Chance) {
        self.change(|all| all.drop_broadcasts = chance);
    }

    /// Sends database broadcasts twice.
    pub fn double_broadcasts(&self, chance: Chance) {
        self.change(|all| all.double_broadcasts = chance);
    }

    /// Lets database broadcasts be overtaken.
    pub fn reorder_broadcasts(&self, chance: Chance) {
        self.change(|all| all.reorder_broadcasts = chance);
    }

    /// Delays every broadcast; zero ends it.
    pub fn delay_broadcasts(&self, delay: Duration) {
        self.change(|all| all.delay_broadcasts_ms = delay.as_millis() as u64);
    }

    /// Closes every websocket that is open now.
    pub fn cut(&self, cut: Cut) {
        // No receiver is no error: no socket is open.
        let _sockets = self.0.cuts.send(cut);
    }

    /// Refuses new websockets with `status` (0: closes TCP without an answer), or takes them again.
    pub fn refuse_connections(&self, status: Option<u16>) {
        self.change(|all| all.refuse_connections = status);
    }

    /// Refuses joins with `reason`, or takes them again.
    pub fn refuse_joins(&self, reason: Option<&str>) {
        self.change(|all| all.refuse_joins = reason.map(Into::into));
    }

    /// No channel gets a broadcast or a row, until switched off.
    pub fn deaf(&self, on: bool) {
        self.change(|all| all.deaf = on);
    }

    /// The channels joined now get no database broadcast until each joins again or pushes another token: the real
    /// server after its database restarted.
    pub fn deafen_joined(&self) {
        self.0.deafened.send_modify(|epoch| *epoch += 1);
    }

    /// No websocket is answered, until switched off.
    pub fn silent(&self, on: bool) {
        self.change(|all| all.silent = on);
    }

    /// Fails reads with `status`.
    pub fn fail_reads(&self, status: u16, chance: Chance) {
        self.change(|all| all.fail_reads = Some(FailReads { status, chance }));
    }

    /// Answers every read so late; zero ends it.
    pub fn delay_reads(&self, delay: Duration) {
        self.change(|all| all.delay_reads_ms = delay.as_millis() as u64);
    }

    /// Lets the read function of that name answer `body`.
    pub fn answer(&self, function: &str, body: Value, chance: Chance) {
        self.change(|all| {
            all.answers.insert(function.into(), FalseAnswer { body, chance });
        });
    }

    /// What goes wrong with snapshots.
    pub fn snapshot(&self, faults: SnapshotFaults) {
        self.change(|all| all.snapshot = faults);
    }

    /// Fails renewals with `status`.
    pub fn fail_renewal(&self, status: u16, chance: Chance) {
        self.change(|all| all.fail_renewal = Some(FailRenewal { status, chance }));
    }

    /// Ends pages of `list_project_changes` at so many rows, or as asked again.
    pub fn page_rows(&self, rows: Option<u32>) {
        self.change(|all| all.page_rows = rows);
    }

    /// Refuses writes by the functions with `PT429`.
    pub fn too_many_writes(&self, chance: Chance) {
        self.change(|all| all.too_many_writes = chance);
    }

    /// The database knows none of the newer functions.
    pub fn older_database(&self, on: bool) {
        self.change(|all| all.older_database = on);
    }

    pub(crate) fn cuts(&self) -> broadcast::Receiver<Cut> {
        self.0.cuts.subscribe()
    }

    /// Counts the calls of [`Faults::deafen_joined`].
    pub(crate) fn deafened(&self) -> u64 {
        *self.0.deafened.borrow()
    }

    /// Wakes at each change of the settings.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Looks at the settings, and throws the dice that they ask for.
    pub(crate) fn roll<T>(&self, look: impl FnOnce(&mut FaultSettings, &mut Random) -> T) -> T {
        let mut state = self.lock();
        let State { settings, random } = &mut *state;
        look(settings, random)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
