//! The verdict for each revision: how it is reached, and when nothing more is awaited.

use std::time::Duration;

use serde_json::{Value, json};
use sync_core::wire::rfc3339_of;
use sync_core::{Revision, Time};

/// Revisions within this time are one.
pub const GATHER: Duration = Duration::from_millis(100);
/// A page without a new problem for this long after an update is rendered. Errors in effects come within a few frames.
pub const RENDERED_AFTER: Duration = Duration::from_millis(500);
/// How long a page may take for an update. After that it counts as closed: a tab may be asleep.
pub const PAGE_PATIENCE: Duration = Duration::from_secs(5);
/// After this long a broken preview is settled although nothing checked it again: the dev server may be down for good.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(10);

sync_core::code_enum! {
    /// Whether the preview works.
    pub enum Outcome {
        /// No problem is open but those of the console and of types.
        Ok = "ok",
        /// A problem is open.
        Broken = "broken",
    }
}

sync_core::code_enum! {
    /// How far a revision was seen. The later, the more is known.
    pub enum Seen {
        /// Its files are on disk.
        Applied = "applied",
        /// Each changed module was transformed.
        Built = "built",
        /// Each open page took the update, and stayed without a new problem.
        Rendered = "rendered",
    }
}

/// What is known of the preview at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The highest revision that it is about.
    pub revision: Revision,
    /// Whether the preview works.
    pub outcome: Outcome,
    /// How far it was seen.
    pub seen: Seen,
    /// Nothing more is awaited for this revision.
    pub settled: bool,
    /// When it was reached, in Unix milliseconds.
    pub at: u64,
    /// The time from the first of its revisions on disk until now.
    pub took: Duration,
}

impl Verdict {
    /// The same but for the time.
    pub(crate) fn is_same(&self, other: &Verdict) -> bool {
        (self.revision, self.outcome, self.seen, self.settled)
            == (other.revision, other.outcome, other.seen, other.settled)
    }

    /// As docs/protocol.md has it, with the ids of the open problems.
    pub fn to_json(&self, problems: &[String]) -> Value {
        json!({
            "revision": self.revision, "verdict": self.outcome.as_str(), "seen": self.seen.as_str(),
            "settled": self.settled, "problems": problems, "at": rfc3339_of(self.at),
        })
    }
}

/// The revisions that the next verdict is about.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) revision: Revision,
    /// When the first of them was on disk.
    pub(crate) since: Time,
    /// When the last of them was on disk.
    pub(crate) last: Time,
    /// When the changed modules were asked.
    pub(crate) checked: Option<Time>,
    /// The dev server sent an update or a reload to pages.
    pub(crate) update_sent: bool,
}

impl Group {
    pub(crate) fn new(revision: Revision, now: Time) -> Group {
        Group { revision, since: now, last: now, checked: None, update_sent: false }
    }

    pub(crate) fn closes(&self) -> Time {
        self.since.after(GATHER)
    }

    /// A further revision, within the time.
    pub(crate) fn extend(&mut self, revision: Revision, now: Time) {
        (self.revision, self.last, self.checked) = (revision, now, None);
    }
}
