use std::collections::BTreeSet;

use super::Replica;
use crate::cx::Cx;
use crate::table::{Row, RowState};
use crate::wish::Origin;
use crate::{ProjectPath, Restored, Saved, SavedLocal, SavedRow};

impl Replica {
    /// Goes on from the state of an earlier agent and what lies in the directory now.
    pub fn restored(&mut self, cx: &mut Cx, restored: Restored) {
        if std::mem::replace(&mut self.hydrated, true) {
            return cx.skipped("hydrated_twice");
        }
        let Restored { saved, files } = restored;
        self.known = saved.revision;
        for SavedRow { path, version, revision, hash, size } in saved.rows {
            let state = hash.map_or(RowState::Tombstone, |hash| RowState::Live { hash, size });
            self.table.put(&path, Row { version, revision, state });
        }
        for file in files {
            self.disk.adopt(file.path, file.hash);
        }
        self.restore_local_changes(cx, saved.local);
        // What differs now may only be younger than the state: the catch-up knows.
        self.reconcile = true;
        if self.live {
            self.start_catch_up(cx, "restored");
            self.head_poll.schedule(cx);
        }
        self.drain_held(cx);
        self.pump(cx);
    }

    /// A local change is one still where exactly that lies there. Whatever else differs from its row is put back.
    fn restore_local_changes(&mut self, cx: &mut Cx, local: Vec<SavedLocal>) {
        if self.local.restores() {
            return;
        }
        for SavedLocal { path, hash } in local {
            let Ok(path) = ProjectPath::parse(&path) else { continue };
            let live = self.table.get(path.as_str()).is_some_and(Row::is_live);
            if live && self.disk.standing(&path) == hash {
                self.local.found(cx.now, path, hash);
            }
        }
    }

    /// Makes every path as the table says: after a start from kept state, once the table is up to date.
    pub(super) fn reconcile(&mut self, cx: &mut Cx) {
        if !std::mem::take(&mut self.reconcile) {
            return;
        }
        let rows = self.table.iter().map(|(path, _)| path.to_owned());
        let paths: BTreeSet<String> = rows.chain(self.disk.paths().map(|path| path.to_string())).collect();
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        let paths = paths.iter().filter(|path| !ProjectPath::parse(path).is_ok_and(|path| self.local.contains(&path)));
        for path in paths.cloned().collect::<Vec<_>>() {
            self.follow_row(cx, &path, None, origin);
        }
    }

    /// The table as it stands.
    pub fn saved(&self, project_id: &str) -> Option<Saved> {
        let rows = self.table.iter().map(|(path, row)| SavedRow {
            path: path.to_owned(),
            version: row.version,
            revision: row.revision,
            hash: row.hash().copied(),
            size: match row.state {
                RowState::Live { size, .. } => size,
                RowState::Tombstone => None,
            },
        });
        let (project_id, revision) = (project_id.to_owned(), self.known);
        let local = self.local_changes().map(|change| SavedLocal { path: change.path.to_string(), hash: change.hash });
        self.hydrated.then(|| Saved { project_id, revision, rows: rows.collect(), local: local.collect() })
    }
}
