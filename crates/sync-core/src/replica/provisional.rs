//! Files written ahead of the database, on events without a revision.

use std::time::Duration;

use super::accept::verified;
use super::active::ActiveReplica;
use super::pending_write::{GroupKind, Origin, TargetState};
use crate::context::Context;
use crate::time::{Timer, TimerReason};
use crate::wire::event_payload::{Change, Entry, EntryKind};
use crate::{CatchUpCause, Content, ContentHash, ProjectPath, RejectReason, SkipReason, Time, Version};

/// After this time an optimistic sender has saved, or will not: then the read is sent that decides.
const CONFIRM_AFTER: Duration = Duration::from_millis(1_500);
/// The most paths that may be on disk ahead of the database.
const MAX_PROVISIONAL: usize = 1_000;

/// A file that was written ahead of the database. It never enters the table.
#[derive(Debug)]
pub(super) struct Provisional {
    pub version: Version,
    confirm_at: Time,
    /// The read that decides was sent.
    is_read_sent: bool,
}

impl ActiveReplica {
    pub(super) fn on_provisional(&mut self, cx: &mut Context, change: Change, received: Time) {
        if change.entries.is_empty() || change.partial {
            cx.skipped(SkipReason::Incomplete);
            self.read_after_save(cx, CatchUpCause::IncompleteEvent);
        }
        let group = change.bulk.then(|| self.disk.open_group(cx.now, None, GroupKind::Bulk));
        let origin = Origin { received, sent_at_ms: change.sent_at_ms, group };
        for entry in change.entries {
            self.write_ahead(cx, entry, origin);
        }
        if let Some(group) = group {
            self.disk.close_group(group);
        }
    }

    /// Catches up once the sender has had time to save.
    fn read_after_save(&mut self, cx: &mut Context, cause: CatchUpCause) {
        self.schedule_catch_up(cx.now.after(CONFIRM_AFTER), cause);
    }

    fn write_ahead(&mut self, cx: &mut Context, entry: Entry, origin: Origin) {
        let Entry { path: name, version, kind } = entry;
        let Some(version) = version else {
            cx.skipped(SkipReason::NoVersion);
            return self.read_after_save(cx, CatchUpCause::NoVersion);
        };
        let path = match ProjectPath::parse(&name) {
            Ok(path) => path,
            Err(error) => return cx.rejected(RejectReason::Path, error),
        };
        let is_superseded = self.provisional.get(&path).is_some_and(|newer| newer.version >= version);
        if is_superseded || self.table.get(&name).is_some_and(|row| row.version >= Some(version)) {
            return cx.skipped(SkipReason::Old);
        }
        let (hash, size, content) = match kind {
            EntryKind::Delete => (None, None, None),
            EntryKind::Update { hash, content: Some(content), .. } => {
                let hash = hash.unwrap_or_else(|| ContentHash::of(&content));
                let size = content.len() as u64;
                match verified(cx, &name, content, &hash) {
                    Some(content) => (Some(hash), Some(size), Some(Content::Bytes(content))),
                    None => return self.read_after_save(cx, CatchUpCause::ContentHash),
                }
            }
            EntryKind::Update { content: None, .. } => {
                cx.skipped(SkipReason::NoContent);
                return self.read_after_save(cx, CatchUpCause::NoContent);
            }
        };
        if self.provisional.len() >= MAX_PROVISIONAL {
            cx.skipped(SkipReason::ProvisionalTooMany);
            return self.read_after_save(cx, CatchUpCause::ProvisionalTooMany);
        }
        let confirm_at = cx.now.after(CONFIRM_AFTER);
        self.end_local_change(cx, &path);
        self.provisional.insert(path.clone(), Provisional { version, confirm_at, is_read_sent: false });
        let target = TargetState { hash, size, version: Some(version), revision: None };
        self.disk.set_target(cx, path, target, content, origin);
    }

    /// Sends the read that decides about the files that are old enough.
    pub(super) fn confirm_provisional(&mut self, cx: &mut Context) {
        let mut due = false;
        for provisional in self.provisional.values_mut().filter(|p| !p.is_read_sent && p.confirm_at <= cx.now) {
            provisional.is_read_sent = true;
            due = true;
        }
        if due {
            self.start_catch_up(cx, CatchUpCause::Provisional);
        }
    }

    /// A catch-up begun at `started` is complete: files older than it become what the table has.
    pub(super) fn settle_provisional(&mut self, cx: &mut Context, started: Time) {
        let settled: Vec<ProjectPath> =
            self.provisional.iter().filter(|(_, p)| p.confirm_at <= started).map(|(path, _)| path.clone()).collect();
        for path in settled {
            self.provisional.remove(&path);
            let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
            self.follow_row(cx, path.as_str(), None, origin);
        }
        // Their read was asked for while this catch-up was running: its first pages are too old for them.
        if self.provisional.values().any(|provisional| provisional.is_read_sent) {
            self.schedule_catch_up(cx.now, CatchUpCause::Provisional);
        }
    }

    pub(super) fn provisional_deadline(&self) -> Option<Timer> {
        let waiting = self.provisional.values().filter(|provisional| !provisional.is_read_sent);
        waiting.map(|provisional| provisional.confirm_at).min().map(|at| TimerReason::ConfirmProvisional.at(at))
    }
}
