//! Everything around the agent, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sync_core::frame::{ProtocolVersion, Push, project_topic};
use sync_core::{
    Agent, Answer, ContentHash, Event, HydratedFile, Hydration, Input, Options, Output, ProjectPath, Read, ReadError,
    ReadId, Renewal, RenewalError, Restored, Saved, SocketEvent, Time,
};

use crate::database::Database;
use crate::dice::Dice;
use crate::tree::Tree;

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

/// Names that get in each other's way, plain ones, and two that may never be written.
const PATHS: [&str; 30] = [
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
    "node_modules/evil.js",
    "../evil",
];

/// Which faults a seed brings, in percent.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub drop: u64,
    pub double: u64,
    pub delay: u64,
    pub cut: u64,
    pub deaf: u64,
    pub silent: u64,
    pub refuse: u64,
    pub reads: u64,
    pub disk: u64,
    pub lies: u64,
    pub provisional: u64,
    pub prune: u64,
    pub restore: u64,
    pub suspend: u64,
    pub restart: u64,
    pub older: bool,
}

/// What will happen.
enum Due {
    Input(u64, Input),
    /// The database looks at a read, `ms` before its answer arrives.
    Look(u64, ReadId, Read, u64),
    Commit,
    Heal,
    /// An optimistic sender saves what it told.
    Save(&'static str, String),
}

pub struct World {
    dice: Dice,
    pub faults: Faults,
    pub now: Time,
    queue: BTreeMap<(Time, u64), Due>,
    next: u64,
    agent: Agent,
    /// Inputs for an agent that is gone are lost with it.
    life: u64,
    pub database: Database,
    backup: Database,
    pub tree: Tree,
    /// The state file, as it was last written.
    saved: Option<String>,
    socket: u64,
    open: bool,
    joined: Option<u64>,
    streams_since: Time,
    deaf: bool,
    silent: bool,
    pub calm: bool,
    pub left: u64,
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(seed: u64, faults: Faults, commits: u64) -> World {
        let mut dice = Dice::new(seed);
        let mut database = Database::default();
        for _ in 0..dice.below(40) {
            database.commit(&mut dice, &PATHS, false);
        }
        let agent = Agent::new(options(dice.next()), Time::default());
        let mut world = World {
            dice,
            faults,
            now: Time::default(),
            queue: BTreeMap::new(),
            next: 0,
            agent,
            life: 0,
            backup: database.clone(),
            database,
            tree: Tree::default(),
            saved: None,
            socket: 0,
            open: false,
            joined: None,
            streams_since: Time::default(),
            deaf: false,
            silent: false,
            calm: false,
            left: commits,
            counts: BTreeMap::new(),
        };
        world.tree.foreign.insert("foreign.txt".into(), "not the agent's".into());
        world.tree.foreign.insert("src/generated.ts".into(), "not the agent's".into());
        let hydration = world.snapshot();
        world.later(200, Due::Input(0, Input::Hydrated(hydration)));
        world.later(10, Due::Commit);
        world
    }

    /// With a manifest, without one, or none at all.
    fn snapshot(&mut self) -> Hydration {
        if self.dice.percent(20) {
            return Hydration::default();
        }
        let manifest = !self.faults.older && self.dice.percent(70);
        let writable = |path: &String| ProjectPath::parse(path).ok();
        // What a snapshot cannot hold makes the first digest differ: a repair that is none of the replica's doing.
        let manifest = manifest && self.database.live().all(|(path, _)| writable(path).is_some());
        let files: Vec<HydratedFile> = self
            .database
            .live()
            .filter_map(|(path, row)| {
                Some(HydratedFile {
                    path: writable(path)?,
                    version: manifest.then_some(row.version),
                    hash: ContentHash::of(row.content.as_bytes()),
                    size: row.content.len() as u64,
                })
            })
            .collect();
        for (path, row) in self.database.live().filter(|(path, _)| writable(path).is_some()) {
            self.tree.files.insert(path.clone(), row.content.clone());
        }
        Hydration { revision: manifest.then_some(self.database.head), files }
    }

    fn later(&mut self, ms: u64, due: Due) {
        self.next += 1;
        self.queue.insert((self.now.after(Duration::from_millis(ms)), self.next), due);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn strikes(&mut self, chance: u64, what: &'static str) -> bool {
        let strikes = !self.calm && self.dice.percent(chance);
        if strikes {
            self.count(what);
        }
        strikes
    }

    /// Until nothing more is due before `end`.
    pub fn run_until(&mut self, end: Time) {
        loop {
            self.carry_out();
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wanted = self.agent.deadline();
            let Some(at) = [queued, wanted].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if wanted.is_some_and(|wanted| wanted <= self.now) {
                self.agent.tick(self.now);
                self.carry_out();
                let again = self.agent.deadline();
                assert!(
                    again.is_none_or(|again| again > self.now),
                    "the agent wants to be called at once, again and again"
                );
            }
            while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let Some((_, due)) = self.queue.pop_first() else { break };
                self.happen(due);
                self.carry_out();
            }
        }
        self.now = end;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Input(life, _) | Due::Look(life, ..) if life != self.life => {}
            Due::Input(_, Input::Socket(event)) => self.agent.handle(self.now, Input::Socket(event)),
            Due::Input(_, input) => self.agent.handle(self.now, input),
            Due::Commit => self.commit(),
            Due::Heal => {
                self.deaf = false;
                self.silent = false;
            }
            Due::Look(life, id, read, ms) => {
                let result = self.read(read);
                self.later(ms, Due::Input(life, Input::Read(id, result)));
            }
            Due::Save(path, content) => {
                if let Some((event, payload)) = self.database.save(path, &content) {
                    self.tell(event, payload);
                }
            }
        }
    }

    /// One transaction, and whatever strikes beside it.
    fn commit(&mut self) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let pause = if self.dice.percent(10) { 5_000 } else { 200 };
        let pause = 1 + self.dice.below(pause);
        self.later(pause, Due::Commit);
        self.strike();
        let omit = self.dice.percent(10);
        if self.strikes(self.faults.provisional, "provisional") {
            return self.optimistic();
        }
        let Some((event, mut payload)) = self.database.commit(&mut self.dice, &PATHS, omit) else { return };
        self.count("commits");
        if self.faults.older || self.strikes(self.faults.lies, "no_revision") {
            payload["revision"] = Value::Null;
        }
        if self.strikes(self.faults.lies, "wrong_content") && payload["content"].is_string() {
            payload["content"] = "a lie".into();
        }
        self.tell(event, payload);
    }

    /// A sender that tells first and saves later, or never.
    fn optimistic(&mut self) {
        let path = *self.dice.pick(&PATHS);
        let version = self.database.rows.get(path).map_or(1, |row| row.version + 1);
        let content = format!("{path} draft {}", self.dice.below(9));
        let hash = ContentHash::of(content.as_bytes()).to_string();
        let payload = match self.dice.below(4) {
            0 => json!({"path": path, "content": content}),
            1 => json!({"file_path": path, "content": content, "version": version}),
            2 => return self.tell("file:delete", json!({"file_path": path, "version": version})),
            _ => json!({"file_path": path, "content": content, "content_hash": hash, "version": version}),
        };
        if self.dice.percent(50) {
            let late = self.dice.below(3_000);
            self.later(late, Due::Save(path, content));
        }
        self.tell("file:update", payload);
    }

    fn strike(&mut self) {
        if self.dice.percent(10) {
            self.saved = self.agent.saved().map(|saved| saved.encode()).or(self.saved.take());
        }
        let long = 1_000 + self.dice.below(40_000);
        if self.strikes(self.faults.cut, "cut") {
            self.close(1006);
        }
        if self.strikes(self.faults.deaf, "deaf") {
            self.deaf = true;
            self.later(long * 3, Due::Heal);
        }
        if self.strikes(self.faults.silent, "silent") {
            self.silent = true;
            self.later(long, Due::Heal);
        }
        if self.strikes(self.faults.prune, "prune") {
            let back = self.dice.below(30);
            self.database.prune(self.database.head.saturating_sub(back));
            self.database.forget_old();
        }
        if self.strikes(self.faults.restore, "restore") {
            if self.dice.percent(50) {
                self.backup = self.database.clone();
            } else {
                self.database = self.backup.clone();
            }
        }
        if self.strikes(self.faults.suspend, "suspend") {
            self.close(0);
            self.agent.handle(self.now, Input::Resumed);
        }
        if self.strikes(self.faults.restart, "restart") {
            self.restart();
        }
        if self.strikes(self.faults.lies, "garbage") {
            let frame = Bytes::from(vec![4u8, 200, self.dice.next() as u8, 1, 1, 0xff, b'{']);
            let event = if self.dice.percent(50) { SocketEvent::Text(frame) } else { SocketEvent::Binary(frame) };
            self.socket_says(0, event);
        }
        if self.strikes(self.faults.cut, "phx_close")
            && let Some(join) = self.joined.take()
        {
            self.frame(5, json!([join.to_string(), join.to_string(), project_topic(PROJECT), "phx_close", {}]));
        }
    }

    /// The agent dies; a new one finds the directory, and older state or none.
    fn restart(&mut self) {
        self.life += 1;
        self.open = false;
        self.joined = None;
        self.socket += 1;
        self.tree.stage.clear();
        let files = self.tree.files.iter().map(|(path, content)| HydratedFile {
            path: ProjectPath::parse(path).expect("the agent wrote it"),
            version: None,
            hash: ContentHash::of(content.as_bytes()),
            size: content.len() as u64,
        });
        let files = files.collect();
        self.agent = Agent::new(options(self.dice.next()), self.now);
        let saved = self.saved.as_ref().filter(|_| self.dice.percent(70));
        let input = match saved.map(|saved| Saved::decode(saved.as_bytes(), PROJECT)) {
            Some(saved) => {
                *self.counts.entry("restored").or_default() += 1;
                Input::Restored(Restored { saved: saved.expect("the state that was written"), files })
            }
            None => Input::Hydrated(Hydration { revision: None, files }),
        };
        self.later(100, Due::Input(self.life, input));
    }

    fn close(&mut self, code: u16) {
        if self.open && code > 0 {
            self.socket_says(1, SocketEvent::Closed { code, reason: String::new() });
        }
        self.open = false;
        self.joined = None;
    }

    fn socket_says(&mut self, ms: u64, event: SocketEvent) {
        if self.open && !self.silent {
            self.later(ms, Due::Input(self.life, Input::Socket(event)));
        }
    }

    fn frame(&mut self, ms: u64, frame: Value) {
        self.socket_says(ms, SocketEvent::Text(Bytes::from(frame.to_string())));
    }

    /// Sends an event to the agent, if the channel feels like it.
    fn tell(&mut self, event: &'static str, payload: Value) {
        if self.joined.is_none() || self.deaf || self.strikes(self.faults.drop, "drop") {
            return;
        }
        let times = if self.strikes(self.faults.double, "double") { 2 } else { 1 };
        for _ in 0..times {
            let ms = if self.strikes(self.faults.delay, "delay") { self.dice.below(4_000) } else { 3 };
            let topic = project_topic(PROJECT);
            if self.dice.percent(50) {
                let mut frame = vec![4, topic.len() as u8, event.len() as u8, 2, 1];
                frame.extend(topic.bytes().chain(event.bytes()).chain(*b"{}"));
                frame.extend(payload.to_string().bytes());
                self.socket_says(ms, SocketEvent::Binary(frame.into()));
            } else {
                let payload = json!({"type": "broadcast", "event": event, "payload": payload});
                self.frame(ms, json!([null, null, topic, "broadcast", payload]));
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Event(event) => self.hear(event),
                Output::Connect => self.connect(),
                Output::Disconnect => self.drop_socket(),
                Output::Send(message) => self.receive(message.join_ref, message.reference, message.push),
                Output::Read(id, read) => {
                    let slow = if self.strikes(self.faults.delay, "slow_read") { 3_000 } else { 30 };
                    let (there, back) = (1 + self.dice.below(slow), 1 + self.dice.below(slow));
                    self.later(there, Due::Look(self.life, id, read, back));
                }
                Output::Write(batch, ops) => {
                    let trouble = if self.calm { 0 } else { self.faults.disk };
                    let written = self.tree.carry_out(&mut self.dice, ops, trouble);
                    if trouble > 0 {
                        let failed =
                            written.iter().filter(|w| matches!(w.outcome, sync_core::Outcome::Failed { .. })).count();
                        *self.counts.entry("disk").or_default() += failed as u64;
                    }
                    let slow = if self.strikes(self.faults.delay, "slow_write") { 5_000 } else { 20 };
                    let ms = 1 + self.dice.below(slow);
                    self.later(ms, Due::Input(self.life, Input::Written(batch, written)));
                }
                Output::Discard(stage) => {
                    self.tree.stage.remove(&stage).expect("a stage that is there");
                }
                Output::Renew => {
                    let result = if self.strikes(self.faults.reads, "renewal") {
                        Err(RenewalError::Retry("not now".into()))
                    } else {
                        Ok(Renewal { token: Some(Some(Duration::from_secs(600))) })
                    };
                    self.later(50, Due::Input(self.life, Input::Renewed(result)));
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::CatchUp { cause: "digest" | "digest_again", .. } => self.count("repairs"),
            Event::CatchUp { .. } => self.count("catch_ups"),
            Event::ChannelJoined { .. } => self.count("joins"),
            Event::Skipped { reason: "removal_asked_again" } => self.count("removals_asked_again"),
            Event::Skipped { reason: "unreachable" } => self.count("unreachable"),
            Event::DebtAdded { .. } => self.count("debts"),
            _ => {}
        }
    }

    fn connect(&mut self) {
        self.drop_socket();
        if self.strikes(self.faults.refuse, "refused") {
            let event = match self.dice.below(3) {
                0 => SocketEvent::Refused { status: 401, body: "Token has expired".into() },
                1 => SocketEvent::Refused { status: 429, body: "Too many joins per second".into() },
                _ => SocketEvent::Failed("no route".into()),
            };
            self.later(20, Due::Input(self.life, Input::Socket(event)));
            return;
        }
        self.open = true;
        self.socket_says(20, SocketEvent::Opened);
    }

    /// Nothing more is reported of it.
    fn drop_socket(&mut self) {
        self.open = false;
        self.joined = None;
        self.queue.retain(|_, due| !matches!(due, Due::Input(_, Input::Socket(_))));
    }

    fn receive(&mut self, join_ref: Option<u64>, reference: u64, push: Push) {
        if !self.open || self.silent {
            return;
        }
        let topic = project_topic(PROJECT);
        let ok = json!({"status": "ok", "response": {}});
        match push {
            Push::Heartbeat => self.frame(5, json!([null, reference.to_string(), "phoenix", "phx_reply", ok])),
            Push::Join(_) if self.strikes(self.faults.refuse, "join_refused") => {
                let reason = *self.dice.pick(&["InvalidJWTToken: Token has expired 5 seconds ago", "Unauthorized"]);
                let refused = json!({"status": "error", "response": {"reason": reason}});
                self.frame(
                    5_000,
                    json!([join_ref.map(|r| r.to_string()), reference.to_string(), topic, "phx_reply", refused]),
                );
            }
            Push::Join(_) => {
                let join = reference.to_string();
                self.frame(5, json!([join, join, topic, "phx_reply", ok]));
                // What the server lost it finds again with a new join.
                self.deaf &= self.dice.percent(30) && !self.calm;
                self.joined = Some(reference);
                self.streams_since = self.now;
                if !self.strikes(self.faults.drop, "never_ready") {
                    let ready =
                        json!({"message": "Replication connection established", "status": "ok", "extension": "system"});
                    self.frame(30, json!([join, null, topic, "system", ready]));
                }
            }
            Push::AccessToken | Push::Leave | Push::Broadcast { .. } => {}
        }
    }

    /// What the database says at this moment.
    fn read(&mut self, read: Read) -> Result<Answer, ReadError> {
        if self.strikes(self.faults.reads, "read") {
            let error = match self.dice.below(5) {
                0 => ReadError::Unauthorized("expired".into()),
                1 => ReadError::Unusable("too large".into()),
                2 => return Ok(Answer::Json(Bytes::from_static(b"{\"files\": 7}"))),
                _ => ReadError::Unavailable { error: "503".into(), retry_after: None },
            };
            return Err(error);
        }
        let database = &self.database;
        let result = match read {
            Read::Changes { .. } | Read::Head | Read::File { .. } if self.faults.older => {
                Err(ReadError::NoSuchFunction)
            }
            Read::Changes { since, with_content, .. } => Ok(database.changes(since, with_content)),
            Read::Head => Ok(database.head_answer()),
            Read::File { path, version } => database.file(&path, version),
            Read::CurrentFiles { after } => Ok(database.current_files(&after)),
            Read::CurrentFile { path } => Ok(database.current_file(&path)),
            Read::Asset { hash, .. } => {
                let object = database.object(hash);
                return object.map(|content| Answer::Staged(self.tree.put_on_stage(content)));
            }
        };
        result.map(|json| Answer::Json(Bytes::from(json.to_string())))
    }

    /// The tree and the table differ: how. Compared by content, not by what the agent says.
    pub fn difference(&self) -> Option<String> {
        let writable = |path: &String| ProjectPath::parse(path).is_ok();
        let wanted: BTreeMap<&String, &String> =
            self.database.live().filter(|(path, _)| writable(path)).map(|(path, row)| (path, &row.content)).collect();
        let there: BTreeMap<&String, &String> = self.tree.files.iter().collect();
        if wanted == there {
            return None;
        }
        let mut lines = Vec::new();
        for path in wanted.keys().chain(there.keys()) {
            if wanted.get(path) != there.get(path) {
                lines.push(format!("{path}: database {:?}, tree {:?}", wanted.get(path), there.get(path)));
            }
        }
        lines.dedup();
        Some(lines.join("\n"))
    }

    /// The socket ends, and a transaction that nobody is told of follows.
    pub fn cut_and_commit(&mut self) {
        self.close(1006);
        while self.database.commit(&mut self.dice, &PATHS, false).is_none() {}
    }

    /// The channel is joined, and told so long ago that it streams.
    pub fn has_streamed_for(&self, time: Duration) -> bool {
        self.joined.is_some() && self.now.since(self.streams_since) >= time
    }

    pub fn status(&self) -> sync_core::Status {
        self.agent.status(self.now)
    }
}

fn options(seed: u64) -> Options {
    Options {
        project_id: PROJECT.into(),
        session_id: "session".into(),
        live: true,
        protocol: ProtocolVersion::V2,
        private: true,
        postgres_changes: false,
        publish_status: false,
        token_lifetime: Some(Duration::from_secs(600)),
        can_renew: true,
        seed,
    }
}
