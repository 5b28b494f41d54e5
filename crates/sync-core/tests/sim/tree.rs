//! A directory that fails now and then, holds files of others, and knows that a file is no directory.

use std::collections::BTreeMap;

use sync_core::{Content, ContentHash, Op, Outcome, StageId, Written};

use crate::dice::Dice;

#[derive(Default)]
pub struct Tree {
    /// What the agent put there.
    pub files: BTreeMap<String, String>,
    /// What others put there.
    pub foreign: BTreeMap<String, String>,
    pub stage: BTreeMap<StageId, String>,
    next_stage: u64,
    pub writes: u64,
}

impl Tree {
    pub fn put_on_stage(&mut self, content: String) -> StageId {
        self.next_stage += 1;
        self.stage.insert(StageId(self.next_stage), content);
        StageId(self.next_stage)
    }

    /// Carries out a batch. `trouble` is the chance in percent that an operation fails.
    pub fn carry_out(&mut self, dice: &mut Dice, ops: Vec<Op>, trouble: u64) -> Vec<Written> {
        ops.into_iter()
            .map(|op| {
                let path = op.path().clone();
                let content = match &op {
                    Op::Write { content: Content::Staged(stage), .. } => {
                        Some(self.stage.remove(stage).expect("a stage that is there"))
                    }
                    Op::Write { content: Content::Bytes(bytes), .. } => {
                        Some(String::from_utf8(bytes.to_vec()).expect("text"))
                    }
                    Op::Delete { .. } => None,
                };
                let outcome = if dice.percent(trouble) {
                    Outcome::Failed { reason: "no_space", error: "no space left".into() }
                } else {
                    self.carry_out_one(&op, content)
                };
                Written { path, outcome }
            })
            .collect()
    }

    fn carry_out_one(&mut self, op: &Op, content: Option<String>) -> Outcome {
        let name = op.path().as_str();
        assert!(!name.contains("..") && !name.starts_with("node_modules"), "{name} may not be written");
        let failed = |reason| Outcome::Failed { reason, error: format!("{name} cannot be written") };
        match (op, content) {
            (Op::Write { hash, .. }, Some(content)) => {
                assert_eq!(*hash, ContentHash::of(content.as_bytes()), "{name}: unverified content");
                if name.match_indices('/').any(|(at, _)| self.files.contains_key(&name[..at])) {
                    return failed("not_a_directory");
                }
                if self.files.keys().any(|other| other.starts_with(&format!("{name}/"))) {
                    return failed("is_a_directory");
                }
                let bytes = content.len() as u64;
                let before = self.files.insert(name.into(), content.clone());
                assert_ne!(before.as_ref(), Some(&content), "{name}: the same content was written again");
                self.writes += 1;
                Outcome::Changed { created: before.is_none(), bytes }
            }
            (_, _) => {
                assert!(!self.foreign.contains_key(name), "{name} is not the agent's");
                match self.files.remove(name) {
                    Some(_) => Outcome::Changed { created: false, bytes: 0 },
                    None => Outcome::Unchanged,
                }
            }
        }
    }
}
