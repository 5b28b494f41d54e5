//! Faults on request, for tests and for the console.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

mod rate;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

pub use rate::FaultRate;
pub use settings::{FailJoins, FailReads, FailRenewal, FakeAnswer, FaultSettings, JoinError, SnapshotFaults};

use rate::Random;

/// How open websockets are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// TCP ends without a close frame (1006).
    Abruptly,
    /// A close frame with this code.
    Code(u16),
    /// As after a reload of the tenant: `system` "Server requested disconnect", then 1012.
    Reload,
    /// Every channel gets `phx_error` with the reason `channel_crash`; the socket stays open.
    CrashChannels,
}

/// A fault that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// The fault happens.
    On,
    /// The fault does not happen.
    Off,
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> bool {
        switch == Switch::On
    }
}

/// The faults of a running backend. Clones control the same backend.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    cuts: broadcast::Sender<Cut>,
    stall_epoch: watch::Sender<u64>,
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
            stall_epoch: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }))
    }

    /// Sets the seed of every probability from now on; it is 1 at the start.
    pub fn seed(&self, seed: u64) {
        self.lock().random = Random(seed);
    }

    /// The current settings.
    pub fn settings(&self) -> FaultSettings {
        self.lock().settings.clone()
    }

    /// Replaces all settings.
    pub fn set(&self, settings: FaultSettings) {
        self.change(|all| *all = settings);
    }

    /// Changes some settings and keeps the others.
    pub fn change(&self, change: impl FnOnce(&mut FaultSettings)) {
        change(&mut self.lock().settings);
        self.0.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Switches every fault off.
    pub fn clear(&self) {
        self.set(FaultSettings::default());
    }

    /// Drops database broadcasts.
    pub fn drop_broadcasts(&self, rate: FaultRate) {
        self.change(|all| all.drop_broadcasts = rate);
    }

    /// Sends database broadcasts twice.
    pub fn double_broadcasts(&self, rate: FaultRate) {
        self.change(|all| all.double_broadcasts = rate);
    }

    /// Sends database broadcasts after the next one.
    pub fn reorder_broadcasts(&self, rate: FaultRate) {
        self.change(|all| all.reorder_broadcasts = rate);
    }

    /// Delays every broadcast; zero ends it.
    pub fn delay_broadcasts(&self, delay: Duration) {
        self.change(|all| all.delay_broadcasts_ms = milliseconds(delay));
    }

    /// Closes every websocket that is open now.
    pub fn cut(&self, cut: Cut) {
        // An error says that no socket is open.
        let _sockets = self.0.cuts.send(cut);
    }

    /// Refuses new websockets with `status` (0 closes TCP without an answer); `None` ends it.
    pub fn refuse_connections(&self, status: Option<u16>) {
        self.change(|all| all.refuse_connections = status);
    }

    /// Refuses joins with `reason`; `None` ends it.
    pub fn refuse_joins(&self, reason: Option<&str>) {
        self.change(|all| all.refuse_joins = reason.map(Into::into));
    }

    /// Fails joins with an error of the real server.
    pub fn fail_joins(&self, error: JoinError, rate: FaultRate) {
        self.change(|all| all.fail_joins = Some(FailJoins { error, chance: rate }));
    }

    /// Stops broadcasts and rows to all channels.
    pub fn stall_streams(&self, switch: Switch) {
        self.change(|all| all.stall_streams = switch.into());
    }

    /// Stops database broadcasts to the channels that are joined now, until each joins again or pushes another token: the
    /// real server after a restart of its database.
    pub fn stall_joined(&self) {
        self.0.stall_epoch.send_modify(|epoch| *epoch = epoch.wrapping_add(1));
    }

    /// Stops all reading and writing on websockets.
    pub fn freeze_sockets(&self, switch: Switch) {
        self.change(|all| all.freeze_sockets = switch.into());
    }

    /// Shows a transaction to reads only this long after its event was sent; zero ends it. See
    /// [`FaultSettings::visible_after_ms`].
    pub fn visible_after(&self, delay: Duration) {
        self.change(|all| all.visible_after_ms = milliseconds(delay));
    }

    /// Fails reads with `status`.
    pub fn fail_reads(&self, status: u16, rate: FaultRate) {
        self.change(|all| all.fail_reads = Some(FailReads { status, chance: rate }));
    }

    /// Delays the answer to every read; zero ends it.
    pub fn delay_reads(&self, delay: Duration) {
        self.change(|all| all.delay_reads_ms = milliseconds(delay));
    }

    /// Replaces the answer of a read function by `body`.
    pub fn answer(&self, function: &str, body: Value, rate: FaultRate) {
        self.change(|all| {
            all.answers.insert(function.into(), FakeAnswer { body, chance: rate });
        });
    }

    /// Sets the faults of snapshot downloads.
    pub fn snapshot(&self, faults: SnapshotFaults) {
        self.change(|all| all.snapshot = faults);
    }

    /// Fails renewals with `status`.
    pub fn fail_renewal(&self, status: u16, rate: FaultRate) {
        self.change(|all| all.fail_renewal = Some(FailRenewal { status, chance: rate }));
    }

    /// Ends pages of `list_project_changes` at this many rows; `None` ends it.
    pub fn page_rows(&self, rows: Option<u32>) {
        self.change(|all| all.page_rows = rows);
    }

    /// Refuses writes by the functions with `PT429`.
    pub fn too_many_writes(&self, rate: FaultRate) {
        self.change(|all| all.too_many_writes = rate);
    }

    /// Removes the newer read functions and the revision in events.
    pub fn legacy_database(&self, switch: Switch) {
        self.change(|all| all.legacy_database = switch.into());
    }

    pub(crate) fn cuts(&self) -> broadcast::Receiver<Cut> {
        self.0.cuts.subscribe()
    }

    /// Counts the calls of [`Faults::stall_joined`].
    pub(crate) fn stall_epoch(&self) -> u64 {
        *self.0.stall_epoch.borrow()
    }

    /// Resolves at each change of the settings.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Reads the settings, with the random generator for those that have a rate.
    pub(crate) fn roll<T>(&self, look: impl FnOnce(&mut FaultSettings, &mut Random) -> T) -> T {
        let mut state = self.lock();
        let State { settings, random } = &mut *state;
        look(settings, random)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
