//! Files of the database that something other than the agent changed.

use super::LocalChange;
use super::active::ActiveReplica;
use super::pending_write::Origin;
use crate::context::Context;
use crate::files::table::RowState;
use crate::time::Timer;
use crate::{Event, ProjectPath};

impl ActiveReplica {
    /// Records the present content of files that something other than the agent touched.
    pub(super) fn observed(&mut self, cx: &mut Context, files: Vec<LocalChange>) {
        for LocalChange { path, hash } in files {
            self.disk.record_observed(&path, hash);
            // A pending write is about to replace the content.
            if self.disk.is_pending(&path) || self.provisional.contains_key(&path) {
                continue;
            }
            let Some(RowState::Live { hash: accepted, .. }) = self.table.get(path.as_str()).map(|row| row.state) else {
                continue;
            };
            if hash == Some(accepted) {
                self.end_local_change(cx, &path);
            } else if self.local.record(cx.now, path.clone(), hash) {
                cx.event(Event::LocalChange { path, removed: hash.is_none() });
            }
        }
        self.restore_local(cx);
        self.pump(cx);
    }

    /// Puts back the local changes that are due.
    pub(super) fn restore_local(&mut self, cx: &mut Context) {
        // Without a database there is nothing to read the content from.
        if !self.settings.has_database {
            return;
        }
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        for path in self.local.take_due(cx.now) {
            cx.event(Event::LocalChangeEnded { path: path.clone(), restored: true });
            self.follow_row(cx, path.as_str(), None, origin);
        }
    }

    /// `path` follows the database again.
    pub(super) fn end_local_change(&mut self, cx: &mut Context, path: &ProjectPath) {
        if self.local.remove(path) {
            cx.event(Event::LocalChangeEnded { path: path.clone(), restored: false });
        }
    }

    pub(super) fn local_deadline(&self) -> Option<Timer> {
        self.local.deadline().filter(|_| self.settings.has_database)
    }

    pub(super) fn local_changes(&self) -> impl Iterator<Item = LocalChange> {
        self.local.iter()
    }
}
