//! Everything around the agent, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sync_core::{Agent, Input, ProjectPath, Read, ReadId, SocketEvent, Time};

use crate::database::Database;
use crate::faults::{Age, Faults, Setting};
use crate::random::Random;
use crate::server::Line;
use crate::shell::options;
use crate::tree::Tree;

pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

/// Thirty paths, some of which exclude each other, and two that must never be written.
pub const PATHS: [&str; 32] = [
    "package.json",
    "vite.config.ts",
    ".env",
    "index.html",
    "a",
    "a/b",
    "a/b/c",
    "b",
    "b/x.ts",
    "b/y.ts",
    "src/App.tsx",
    "src/main.tsx",
    "src/a.ts",
    "src/b.ts",
    "src/c.ts",
    "src/d.ts",
    "src/lib",
    "src/lib/one.ts",
    "src/lib/two.ts",
    "src/ü.ts",
    "public/logo.svg",
    "public/a.txt",
    "tsconfig.json",
    "README.md",
    "docs/a.md",
    "docs/b.md",
    "c",
    "d",
    "e",
    "f g.txt",
    "node_modules/evil.js",
    "../evil",
];

/// What is due.
pub enum Due {
    /// For the agent of this life; it is dropped where that agent was killed.
    Input(u64, Input),
    /// For the agent, over this socket.
    Socket(u64, SocketEvent),
    /// The database evaluates a read, `ms` before its answer arrives. The token is valid until `token_ends`.
    Evaluate {
        life: u64,
        id: ReadId,
        read: Read,
        token_ends: Duration,
        ms: u64,
    },
    Commit,
    /// A fault that lasts for a while ends.
    StallEnds,
    SilenceEnds,
    DigestRight,
    /// Commits are visible from now on.
    CommitsVisible,
    DiskFree,
    Unstuck(&'static str),
    RenewalsWork,
    /// The shell uses a new token, if this renewal succeeded.
    Renewed(u64, bool),
    /// The token of the channel joined with this ref over this socket expires.
    ChannelTokenEnds(u64, u64),
    /// Rows are sent to this join over this socket from now on.
    Subscribed(u64, u64),
    /// An optimistic sender saves what its event announced.
    Save(&'static str, String),
}

pub struct World {
    pub random: Random,
    pub setting: Setting,
    pub faults: Faults,
    /// Monotonic time, which stops while the machine is suspended.
    pub now: Time,
    /// How long it was suspended: wall time is ahead of `now` by so much.
    pub suspended_for: Duration,
    queue: BTreeMap<(Time, u64), Due>,
    next: u64,
    pub agent: Agent,
    pub life: u64,
    pub database: Database,
    pub backup: Database,
    /// What reads show while the newest commits are not visible yet.
    pub visible: Option<Database>,
    /// A full listing has begun and its last page was not read.
    pub is_paging: bool,
    pub tree: Tree,
    pub full: bool,
    pub stuck: BTreeSet<&'static str>,
    /// The state file, as it was last written.
    pub saved: Option<String>,
    pub line: Line,
    /// When the agent's token expires, in wall time.
    pub token_ends: Duration,
    pub no_renewals: bool,
    pub migrated: bool,
    /// No fault is injected; one that lasts may still last.
    pub calm: bool,
    /// Transactions to come.
    pub left: u64,
    /// How often each kind of fault was injected.
    pub injected: BTreeMap<&'static str, u64>,
    /// What else happened.
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(seed: u64, setting: Setting, faults: Faults) -> World {
        let mut random = Random::new(seed);
        let mut database = Database::new(setting.age == Age::New);
        for _ in 0..random.below(40) {
            database.commit(&mut random, &PATHS, false);
        }
        let agent = Agent::new(options(random.next(), &setting), Time::default());
        let mut world = World {
            random,
            faults,
            now: Time::default(),
            suspended_for: Duration::ZERO,
            queue: BTreeMap::new(),
            next: 0,
            agent,
            life: 0,
            backup: database.clone(),
            visible: None,
            is_paging: false,
            database,
            tree: Tree::new(),
            full: false,
            stuck: BTreeSet::new(),
            saved: None,
            line: Line::default(),
            token_ends: setting.token_life,
            no_renewals: false,
            migrated: false,
            calm: false,
            left: 0,
            injected: BTreeMap::new(),
            counts: BTreeMap::new(),
            setting,
        };
        let hydration = world.snapshot();
        world.later(200, Due::Input(0, Input::Hydrated(hydration)));
        world
    }

    /// Transactions under faults from now on.
    pub fn start_faults(&mut self, commits: u64) {
        self.calm = false;
        self.left = commits;
        self.later(10, Due::Commit);
    }

    pub fn later(&mut self, ms: u64, due: Due) {
        self.next += 1;
        self.queue.insert((self.now.after(Duration::from_millis(ms)), self.next), due);
    }

    pub fn wall(&self) -> Duration {
        self.now.0 + self.suspended_for
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn injected(&mut self, kind: &'static str) {
        *self.injected.entry(kind).or_default() += 1;
    }

    /// Whether a fault is injected now.
    pub fn inject(&mut self, chance: u64, kind: &'static str) -> bool {
        let occurs = !self.calm && self.random.percent(chance);
        if occurs {
            self.injected(kind);
        }
        occurs
    }

    /// Until nothing more is due before `end`.
    pub fn run_until(&mut self, end: Time) {
        loop {
            self.carry_out();
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wanted = self.agent.deadline().map(|timer| timer.at);
            let Some(at) = [queued, wanted].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if wanted.is_some_and(|wanted| wanted <= self.now) {
                self.agent.tick(self.now);
                self.carry_out();
                let again = self.agent.deadline();
                assert!(again.is_none_or(|again| again.at > self.now), "a timer is due again at once: {again:?}");
            }
            while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let Some((_, due)) = self.queue.pop_first() else { break };
                self.process(due);
                self.carry_out();
            }
        }
        self.now = end;
    }

    fn process(&mut self, due: Due) {
        match due {
            Due::Input(life, _) | Due::Evaluate { life, .. } | Due::Renewed(life, _) if life != self.life => {}
            Due::Input(_, input) => self.agent.handle(self.now, input),
            Due::Socket(number, event) => self.arrive(number, event),
            Due::Evaluate { life, id, read, token_ends, ms } => {
                let result = self.read(read, token_ends);
                self.later(ms, Due::Input(life, Input::Read(id, result)));
            }
            Due::Commit => self.commit(),
            Due::StallEnds => self.line.stalled = false,
            Due::SilenceEnds => self.line.silent = false,
            Due::DigestRight => self.database.digest_is_wrong = false,
            Due::CommitsVisible => self.visible = None,
            Due::DiskFree => self.full = false,
            Due::Unstuck(path) => {
                self.stuck.remove(path);
            }
            Due::RenewalsWork => self.no_renewals = false,
            Due::Renewed(_, works) => self.renewed(works),
            Due::ChannelTokenEnds(socket, join) => self.channel_token_ends(socket, join),
            Due::Subscribed(socket, join) => self.subscribed(socket, join),
            Due::Save(path, content) => {
                if let Some(commit) = self.database.save(path, &content) {
                    self.send_commit(commit);
                }
            }
        }
    }

    /// The tree and the table differ: how. Compared by content, not by the agent's status.
    pub fn difference(&self) -> Option<String> {
        let writable = |path: &String| ProjectPath::parse(path).is_ok();
        let wanted: BTreeMap<&String, &String> =
            self.database.live().filter(|(path, _)| writable(path)).map(|(path, row)| (path, &row.content)).collect();
        let there: BTreeMap<&String, &String> = self.tree.files.iter().collect();
        if wanted == there {
            return None;
        }
        let names: BTreeSet<&&String> = wanted.keys().chain(there.keys()).collect();
        let differ = names.into_iter().filter(|path| wanted.get(**path) != there.get(**path));
        let line = |path: &&String| format!("{path}: database {:?}, tree {:?}", wanted.get(path), there.get(path));
        Some(differ.map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Whether no path may ever go back to an older version: no backup is restored, and every event has a revision.
    pub fn goes_only_forward(&self) -> bool {
        let Faults { restore, malformed, provisional, .. } = self.faults;
        let setting = &self.setting;
        restore + malformed + provisional + setting.no_revision == 0 && !setting.age.is_legacy()
    }

    pub fn status(&self) -> sync_core::Status {
        self.agent.status(self.now)
    }
}
