//! The problems of the preview as `/problems` shows them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The open problems and the newest verdict, in the form of docs/protocol.md.
#[derive(Debug, Clone, Default)]
pub struct ProblemsView {
    /// Everything up to this revision is on disk.
    pub revision: u64,
    /// None before the first one.
    pub verdict: Option<Value>,
    /// The open problems, the oldest first.
    pub problems: Vec<Value>,
    /// What was reported beyond the bounds.
    pub omitted: u64,
    /// How many are open of each kind.
    pub by_kind: BTreeMap<&'static str, usize>,
}

impl ProblemsView {
    /// The body of `/problems`.
    pub(super) fn to_json(&self, session_id: &str) -> Value {
        json!({
            "session_id": session_id, "revision": self.revision, "verdict": self.verdict, "problems": self.problems,
            "omitted": self.omitted,
        })
    }

    /// The part of `/status`.
    pub(super) fn summary(&self) -> Value {
        json!({"count": self.problems.len(), "omitted": self.omitted, "verdict": self.verdict})
    }
}
