//! The agent's surroundings: they carry out its outputs, save its state, and start it again after it was killed.

use sync_core::{
    Agent, CatchUpCause, ChannelAccess, ContentHash, Event, HydratedFile, Hydration, Input, LiveOptions,
    LocalChangePolicy, Options, Outcome, Output, PendingReason, ProjectPath, Restored, Saved, SkipReason,
};

use crate::faults::Setting;
use crate::tree::Trouble;
use crate::world::{Due, PROJECT, World};

impl World {
    pub fn carry_out(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Event(event) => self.on_event(event),
                Output::Connect => self.connect(),
                Output::Disconnect => self.line.drop(),
                Output::Send(message) => self.receive(message),
                Output::Read(id, read) => {
                    let slow = if self.inject(self.faults.slow, "slow_read") { 3_000 } else { 30 };
                    let (there, ms) = (1 + self.random.below(slow), 1 + self.random.below(slow));
                    let (life, token_ends) = (self.life, self.token_ends);
                    self.later(there, Due::Evaluate { life, id, read, token_ends, ms });
                }
                Output::Write(batch, mut ops) => {
                    let torn = self.inject(self.faults.torn, "torn_batch");
                    if torn {
                        ops.truncate(self.random.below(ops.len() as u64) as usize);
                    }
                    let percent = if self.calm { 0 } else { self.faults.disk };
                    let trouble = Trouble { percent, full: self.full, stuck: self.stuck.clone() };
                    let written = self.tree.carry_out(&mut self.random, ops, &trouble);
                    for written in &written {
                        match written.outcome {
                            Outcome::Failed { reason: PendingReason::Io, .. } => self.injected("disk"),
                            Outcome::Failed { reason: PendingReason::NoSpace, .. } => self.injected("disk_full"),
                            Outcome::Failed { reason: PendingReason::PermissionDenied, .. } => {
                                self.injected("no_permission")
                            }
                            _ => {}
                        }
                    }
                    if torn {
                        self.restart();
                        continue;
                    }
                    let slow = if self.inject(self.faults.slow, "slow_write") { 5_000 } else { 20 };
                    let ms = 1 + self.random.below(slow);
                    self.later(ms, Due::Input(self.life, Input::Written(batch, written)));
                }
                Output::Discard(stage) => {
                    self.tree.stage.remove(&stage).expect("a stage that is there");
                }
                Output::Renew => self.renew(),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::CatchUp { cause: CatchUpCause::Digest, .. } => self.count("repairs"),
            Event::CatchUp { cause: CatchUpCause::DigestAgain, .. } => {
                self.count("repairs");
                self.count("repeated_repairs");
            }
            Event::CatchUp { .. } => self.count("catch_ups"),
            Event::ChannelJoined { .. } => self.count("joins"),
            Event::Skipped { reason: SkipReason::RemovalAskedAgain } => self.count("removals_asked_again"),
            Event::Skipped { reason: SkipReason::Unreachable } => self.count("unreachable"),
            Event::PendingFileAdded { .. } => self.count("debts"),
            Event::TokenRenewed => self.count("renewed"),
            _ => {}
        }
    }

    /// The agent is killed; a new one finds the directory with older state, damaged state or none, or starts empty.
    pub fn restart(&mut self) {
        self.life += 1;
        self.line.drop();
        self.tree.stage.clear();
        self.tree.forget_applied();
        self.token_ends = self.wall() + self.setting.token_life;
        self.agent = Agent::new(options(self.random.next(), &self.setting), self.now);
        let mut saved = self.saved.clone().filter(|_| self.random.percent(60)).map(String::into_bytes);
        if let Some(bytes) = saved.as_mut().filter(|_| self.random.percent(10)) {
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
            assert!(Saved::decode(bytes, PROJECT).is_err(), "damaged state was taken");
            self.injected("damaged_state");
            saved = None;
        }
        let input = match saved {
            Some(saved) => {
                self.count("restored");
                let saved = Saved::decode(&saved, PROJECT).expect("the state that was written");
                Input::Restored(Restored { saved, files: self.owned() })
            }
            None if self.random.percent(50) => Input::Hydrated(Hydration { revision: None, files: self.owned() }),
            None => {
                self.saved = None;
                Input::Hydrated(self.snapshot())
            }
        };
        self.later(100, Due::Input(self.life, input));
    }

    fn owned(&self) -> Vec<HydratedFile> {
        let files = self.tree.files.iter().map(|(path, content)| HydratedFile {
            path: ProjectPath::parse(path).expect("the agent wrote it"),
            version: None,
            hash: ContentHash::of(content.as_bytes()),
            size: content.len() as u64,
        });
        files.collect()
    }

    /// A snapshot of now in the tree: with a manifest, without one, or none at all.
    pub fn snapshot(&mut self) -> Hydration {
        self.tree.files.clear();
        self.tree.forget_applied();
        if self.random.percent(20) {
            return Hydration::default();
        }
        let manifest = !self.setting.age.is_legacy() && self.random.percent(70);
        let writable = |path: &String| ProjectPath::parse(path).ok();
        // A path that a snapshot cannot contain makes the first digest differ: a repair that the replica did not cause.
        let manifest = manifest && self.database.live().all(|(path, _)| writable(path).is_some());
        let mut files = Vec::new();
        for (name, row) in self.database.live() {
            let Some(path) = writable(name) else { continue };
            let version = manifest.then_some(row.version);
            files.push(HydratedFile { path, version, hash: row.hash, size: row.content.len() as u64 });
            self.tree.files.insert(name.clone(), row.content.clone());
        }
        Hydration { revision: manifest.then_some(self.database.head), files }
    }
}

pub fn options(seed: u64, setting: &Setting) -> Options {
    let live = LiveOptions {
        protocol: setting.protocol,
        access: if setting.private { ChannelAccess::Private } else { ChannelAccess::Public },
        postgres_changes: setting.postgres_changes,
        publish_status: setting.publish_status,
        token_lifetime: Some(setting.token_life),
        can_renew: setting.can_renew,
    };
    Options {
        project_id: PROJECT.into(),
        session_id: "session".into(),
        live: Some(live),
        local_changes: LocalChangePolicy::Keep,
        seed,
    }
}
