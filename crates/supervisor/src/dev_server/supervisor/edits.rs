//! Edits: several close together are handled together, a moment after the last.

use tokio::time::Instant;

use super::{Restart, State, Supervisor};
use crate::clock::after;
use crate::dev_server::ChangeEffects;

/// Edits that never pause are handled after this many settling times.
const MAX_SETTLES: u32 = 8;

/// Edits that were not handled yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct SettlingEdit {
    first: Instant,
    due: Instant,
    effects: ChangeEffects,
}

impl SettlingEdit {
    /// When the edits are handled, unless another one comes before.
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

impl Supervisor {
    /// While the dev server runs, most edits require nothing here. While it is down, any edit may be the repair.
    pub(super) fn edited(&mut self, effects: ChangeEffects) {
        let down = matches!(self.state, State::Down) && self.install.is_none();
        if matches!(self.state, State::Waiting) || (effects == ChangeEffects::default() && !down) {
            return;
        }
        let now = Instant::now();
        let settle = self.config.limits.settle;
        let first = self.edit.map_or(now, |edit| edit.first);
        let effects = self.edit.map_or(effects, |edit| edit.effects.merged(effects));
        let due = after(now, settle).min(after(first, settle.saturating_mul(MAX_SETTLES)));
        self.edit = Some(SettlingEdit { first, due, effects });
    }

    pub(super) async fn edit_settled(&mut self) {
        let Some(edit) = self.edit.take() else { return };
        self.retry = None;
        self.restarts.refill();
        self.installs.refill();
        let restart = if edit.effects.restart { Restart::Always } else { Restart::IfChanged };
        self.install_or_start(restart).await;
    }
}
