use std::time::Duration;

use super::Replica;
use super::accept::verified;
use crate::change::{Change, Entry, EntryKind};
use crate::cx::{Cx, earliest};
use crate::wish::{Origin, Want};
use crate::{Content, ContentHash, ProjectPath, Time, Version};

/// After it an optimistic sender has saved, or has not: the read that decides is sent then.
const CONFIRM_AFTER: Duration = Duration::from_millis(1_500);
/// The most paths that may stand on disk ahead of the database.
const MAX_PROVISIONAL: usize = 1_000;

/// A file that was written ahead of the database, on the word of a sender without revisions. It never enters the table.
#[derive(Debug)]
pub(super) struct Provisional {
    pub version: Version,
    confirm_at: Time,
    asked: bool,
}

impl Replica {
    pub(super) fn provisional(&mut self, cx: &mut Cx, change: Change, received: Time) {
        if change.entries.is_empty() || change.partial {
            cx.skipped("incomplete");
            self.wish_catch_up(cx.now.after(CONFIRM_AFTER), "incomplete_event");
        }
        let group = change.bulk.then(|| self.disk.group(cx.now, None, true));
        let origin = Origin { received, sent_at_ms: change.sent_at_ms, group };
        for entry in change.entries {
            self.write_ahead(cx, entry, origin);
        }
        if let Some(group) = group {
            self.disk.end_group(group);
        }
    }

    fn write_ahead(&mut self, cx: &mut Cx, entry: Entry, origin: Origin) {
        let Entry { path: name, version, kind } = entry;
        let Some(version) = version else {
            cx.skipped("no_version");
            return self.wish_catch_up(cx.now.after(CONFIRM_AFTER), "no_version");
        };
        let path = match ProjectPath::parse(&name) {
            Ok(path) => path,
            Err(error) => return cx.rejected("path", error),
        };
        let above = self.provisional.get(&path).is_some_and(|above| above.version >= version);
        if above || self.table.get(&name).is_some_and(|row| row.version >= Some(version)) {
            return cx.skipped("old");
        }
        let (hash, size, content) = match kind {
            EntryKind::Delete => (None, None, None),
            EntryKind::Update { hash, content: Some(content), .. } => {
                let hash = hash.unwrap_or_else(|| ContentHash::of(&content));
                let size = content.len() as u64;
                match verified(cx, &name, content, &hash) {
                    Some(content) => (Some(hash), Some(size), Some(Content::Bytes(content))),
                    None => return self.wish_catch_up(cx.now.after(CONFIRM_AFTER), "content_hash"),
                }
            }
            EntryKind::Update { content: None, .. } => {
                cx.skipped("no_content");
                return self.wish_catch_up(cx.now.after(CONFIRM_AFTER), "no_content");
            }
        };
        if self.provisional.len() >= MAX_PROVISIONAL {
            cx.skipped("provisional_too_many");
            return self.wish_catch_up(cx.now.after(CONFIRM_AFTER), "provisional_too_many");
        }
        let confirm_at = cx.now.after(CONFIRM_AFTER);
        self.settle_local(cx, &path);
        self.provisional.insert(path.clone(), Provisional { version, confirm_at, asked: false });
        self.disk.want(cx, path, Want { hash, size, version: Some(version), revision: None }, content, origin);
    }

    /// Asks the database about what is old enough.
    pub(super) fn confirm_provisional(&mut self, cx: &mut Cx) {
        let mut due = false;
        for provisional in self.provisional.values_mut().filter(|p| !p.asked && p.confirm_at <= cx.now) {
            provisional.asked = true;
            due = true;
        }
        if due {
            self.start_catch_up(cx, "provisional");
        }
    }

    /// A catch-up begun at `started` is complete: what is older than it is now as the table says.
    pub(super) fn settle_provisional(&mut self, cx: &mut Cx, started: Time) {
        let settled: Vec<ProjectPath> =
            self.provisional.iter().filter(|(_, p)| p.confirm_at <= started).map(|(path, _)| path.clone()).collect();
        for path in settled {
            self.provisional.remove(&path);
            let origin = Origin { received: cx.now, sent_at_ms: None, group: None };
            self.follow_row(cx, path.as_str(), None, origin);
        }
        // Asked for while this one was already under way: its first pages are too old for them.
        if self.provisional.values().any(|provisional| provisional.asked) {
            self.wish_catch_up(cx.now, "provisional");
        }
    }

    pub(super) fn provisional_deadline(&self) -> Option<Time> {
        earliest(self.provisional.values().map(|p| (!p.asked).then_some(p.confirm_at)))
    }
}
