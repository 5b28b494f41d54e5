//! A directory that fails at times, contains foreign files, and distinguishes files from directories.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{Content, ContentHash, Op, OpResult, Outcome, PendingReason, StageId};

use crate::random::Random;

/// Foreign files: beside the agent's files, never at their paths.
const FOREIGN: [&str; 5] = [
    "foreign.txt",
    "src/generated.ts",
    "docs/local/notes.md",
    "node_modules/dependency/index.js",
    "public/uploads/1.png",
];

pub struct Tree {
    /// The agent's files.
    pub files: BTreeMap<String, String>,
    foreign: BTreeMap<String, String>,
    pub stage: BTreeMap<StageId, String>,
    next_stage: u64,
    /// Rules that the agent broke.
    pub violations: Vec<String>,
    /// The version that was applied last, by path.
    applied: BTreeMap<String, u64>,
    /// Paths that went back to an older version.
    pub regressions: Vec<String>,
}

/// Faults of a batch.
#[derive(Default)]
pub struct Trouble<'a> {
    /// The chance in percent that an operation fails.
    pub percent: u64,
    /// Nothing can be written.
    pub full: bool,
    /// Paths that can be neither written nor deleted.
    pub stuck: BTreeSet<&'a str>,
}

impl Tree {
    pub fn new() -> Tree {
        Tree {
            files: BTreeMap::new(),
            foreign: FOREIGN.map(|path| (path.into(), format!("{path} is not the agent's"))).into(),
            stage: BTreeMap::new(),
            next_stage: 0,
            violations: Vec::new(),
            applied: BTreeMap::new(),
            regressions: Vec::new(),
        }
    }

    /// How many foreign files are unchanged.
    pub fn foreign_intact(&self) -> usize {
        let untouched = |path: &&&str| self.foreign.get(**path) == Some(&format!("{path} is not the agent's"));
        FOREIGN.iter().filter(untouched).count()
    }

    pub fn foreign_is_intact(&self) -> bool {
        self.foreign_intact() == FOREIGN.len() && self.foreign.len() == FOREIGN.len()
    }

    pub fn put_on_stage(&mut self, content: String) -> StageId {
        self.next_stage += 1;
        self.stage.insert(StageId(self.next_stage), content);
        StageId(self.next_stage)
    }

    /// Carries out a batch.
    pub fn carry_out(&mut self, random: &mut Random, ops: Vec<Op>, trouble: &Trouble) -> Vec<OpResult> {
        ops.into_iter()
            .map(|op| {
                let path = op.path().clone();
                let (Op::Write { version, .. } | Op::Delete { version, .. }) = &op;
                let version_of = (path.to_string(), *version);
                let content = match &op {
                    Op::Write { content: Content::Staged(stage), .. } => {
                        Some(self.stage.remove(stage).expect("a stage that is there"))
                    }
                    Op::Write { content: Content::Bytes(bytes), .. } => {
                        Some(String::from_utf8_lossy(bytes).into_owned())
                    }
                    Op::Delete { .. } => None,
                };
                let failed = |reason| Outcome::Failed { reason, error: format!("{path} fails") };
                let outcome = if random.percent(trouble.percent) {
                    failed(PendingReason::Io)
                } else if trouble.full && content.is_some() {
                    failed(PendingReason::NoSpace)
                } else if trouble.stuck.contains(path.as_str()) {
                    failed(PendingReason::PermissionDenied)
                } else {
                    self.carry_out_one(&op, content)
                };
                self.check_version(&version_of, &outcome);
                OpResult { path, outcome }
            })
            .collect()
    }

    /// A new agent, or another snapshot: what was applied before is not known to it.
    pub fn forget_applied(&mut self) {
        self.applied.clear();
    }

    /// Records what was applied, and whether it is older than what was there.
    fn check_version(&mut self, (path, version): &(String, Option<u64>), outcome: &Outcome) {
        let Some(version) = version.filter(|_| !matches!(outcome, Outcome::Failed { .. })) else { return };
        let before = self.applied.insert(path.clone(), version);
        if before.is_some_and(|before| before > version) {
            self.regressions.push(format!("{path} went from version {before:?} back to {version}"));
        }
    }

    fn carry_out_one(&mut self, op: &Op, content: Option<String>) -> Outcome {
        let name = op.path().as_str();
        if name.contains("..") || name.starts_with("node_modules") {
            self.violations.push(format!("{name} may not be written"));
        }
        let failed = |reason| Outcome::Failed { reason, error: format!("{name} cannot be written") };
        match (op, content) {
            (Op::Write { hash, .. }, Some(content)) => {
                if *hash != ContentHash::of(content.as_bytes()) {
                    self.violations.push(format!("{name}: unverified content"));
                }
                if name.match_indices('/').any(|(at, _)| self.is_file(&name[..at])) {
                    return failed(PendingReason::NotADirectory);
                }
                if self.is_directory(name) {
                    return failed(PendingReason::IsADirectory);
                }
                let bytes = content.len() as u64;
                self.foreign.remove(name);
                let before = self.files.insert(name.into(), content.clone());
                if before.as_ref() == Some(&content) {
                    self.violations.push(format!("{name}: the same content was written again"));
                }
                Outcome::Changed { created: before.is_none(), bytes }
            }
            (_, _) => match self.files.remove(name).or_else(|| self.foreign.remove(name)) {
                Some(_) => Outcome::Changed { created: false, bytes: 0 },
                None => Outcome::Unchanged,
            },
        }
    }

    fn is_file(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.foreign.contains_key(name)
    }

    fn is_directory(&self, name: &str) -> bool {
        let inside = format!("{name}/");
        self.files.keys().chain(self.foreign.keys()).any(|other| other.starts_with(&inside))
    }
}
