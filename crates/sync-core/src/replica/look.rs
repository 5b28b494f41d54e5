use super::Replica;
use crate::cx::Cx;
use crate::local::LocalChange;
use crate::table::RowState;
use crate::wish::Origin;
use crate::{Event, ProjectPath, Time};

impl Replica {
    /// Takes in what lies at paths that somebody else has touched.
    pub fn looked(&mut self, cx: &mut Cx, seen: Vec<LocalChange>) {
        for LocalChange { path, hash } in seen {
            self.disk.saw(&path, hash);
            // What is wished of the path is about to settle it.
            if self.disk.is_wished(&path) || self.provisional.contains_key(&path) {
                continue;
            }
            let Some(RowState::Live { hash: wanted, .. }) = self.table.get(path.as_str()).map(|row| row.state) else {
                continue;
            };
            if hash == Some(wanted) {
                self.settle_local(cx, &path);
            } else if self.local.found(cx.now, path.clone(), hash) {
                cx.event(Event::LocalChange { path, removed: hash.is_none() });
            }
        }
        self.restore_local(cx);
        self.pump(cx);
    }

    /// Puts back what is due.
    pub(super) fn restore_local(&mut self, cx: &mut Cx) {
        // Without a database there is nothing to put back from.
        if !self.live {
            return;
        }
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        for path in self.local.take_due(cx.now) {
            cx.event(Event::LocalChangeSettled { path: path.clone(), restored: true });
            self.follow_row(cx, path.as_str(), None, origin);
        }
    }

    /// The database has its say on `path` again.
    pub(super) fn settle_local(&mut self, cx: &mut Cx, path: &ProjectPath) {
        if self.local.settle(path) {
            cx.event(Event::LocalChangeSettled { path: path.clone(), restored: false });
        }
    }

    pub(super) fn local_deadline(&self) -> Option<Time> {
        self.local.deadline().filter(|_| self.live)
    }

    /// What the project's own code changed and the database has not changed since.
    pub fn local_changes(&self) -> impl Iterator<Item = LocalChange> {
        self.local.iter()
    }
}
