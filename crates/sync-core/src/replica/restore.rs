//! Starting from the state of an earlier agent, and the state for a later one.

use std::collections::BTreeSet;

use super::active::ActiveReplica;
use super::pending_write::Origin;
use crate::context::Context;
use crate::files::table::{Row, RowState};
use crate::{CatchUpCause, LocalChangePolicy, ProjectPath, Restored, Saved, SavedLocal, SavedRow};

impl ActiveReplica {
    /// Continues from the state of an earlier agent and the present content of the directory.
    pub(super) fn restored(&mut self, cx: &mut Context, restored: Restored) {
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
        // A file that differs may only be newer than the state: the catch-up will show.
        self.must_reconcile = true;
        self.begin_following(cx, CatchUpCause::Restored);
    }

    /// A recorded local change is still one where the file has exactly that content. Every other difference is put back.
    fn restore_local_changes(&mut self, cx: &mut Context, local: Vec<SavedLocal>) {
        if self.local.policy() == LocalChangePolicy::Restore {
            return;
        }
        for SavedLocal { path, hash } in local {
            let Ok(path) = ProjectPath::parse(&path) else { continue };
            let is_live = self.table.get(path.as_str()).is_some_and(Row::is_live);
            if is_live && self.disk.current_hash(&path) == hash {
                self.local.record(cx.now, path, hash);
            }
        }
    }

    /// Makes every path what the table has: after a start from kept state, once the table is up to date.
    pub(super) fn reconcile(&mut self, cx: &mut Context) {
        if !std::mem::take(&mut self.must_reconcile) {
            return;
        }
        let rows = self.table.iter().map(|(path, _)| path.to_owned());
        let paths: BTreeSet<String> = rows.chain(self.disk.paths().map(|path| path.to_string())).collect();
        let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
        for path in paths {
            if !ProjectPath::parse(&path).is_ok_and(|path| self.local.contains(&path)) {
                self.follow_row(cx, &path, None, origin);
            }
        }
    }

    pub(super) fn saved(&self, project_id: &str) -> Saved {
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
        let local = self.local_changes().map(|change| SavedLocal { path: change.path.to_string(), hash: change.hash });
        Saved { project_id: project_id.to_owned(), revision: self.known, rows: rows.collect(), local: local.collect() }
    }
}
