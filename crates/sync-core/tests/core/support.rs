//! A harness at which the outside world is played by hand.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sync_core::wire::{ProtocolVersion, Push, project_topic};
use sync_core::{
    Agent, Answer, BatchId, ChannelAccess, ContentHash, HydratedFile, Hydration, Input, LiveOptions, LocalChangePolicy,
    Op, OpResult, Options, Outcome, Output, ProjectPath, Read, ReadError, ReadId, SocketEvent, Time,
};

pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

/// The answer to a read.
pub type Reply = Result<Value, ReadError>;

pub struct Harness {
    pub agent: Agent,
    pub now: Time,
}

pub fn live_options() -> LiveOptions {
    LiveOptions {
        protocol: ProtocolVersion::V2,
        access: ChannelAccess::Private,
        postgres_changes: false,
        publish_status: false,
        token_lifetime: Some(Duration::from_secs(3_600)),
        can_renew: true,
    }
}

pub fn options() -> Options {
    with_live(live_options())
}

pub fn with_live(live: LiveOptions) -> Options {
    Options {
        project_id: PROJECT.into(),
        session_id: "session".into(),
        live: Some(live),
        local_changes: LocalChangePolicy::Keep,
        seed: 1,
    }
}

pub fn hash(content: &str) -> ContentHash {
    ContentHash::of(content.as_bytes())
}

pub fn update(path: &str, version: u64, content: &str, revision: Option<u64>) -> Value {
    json!({"file_path": path, "version": version, "content": content, "content_hash": hash(content).to_string(), "revision": revision})
}

impl Harness {
    pub fn new() -> Harness {
        Harness::with(options())
    }

    pub fn with(options: Options) -> Harness {
        let now = Time::default();
        Harness { agent: Agent::new(options, now), now }
    }

    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        self.agent.handle(self.now, input);
        self.outputs()
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.agent.poll()).collect()
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    /// Lets `ms` go by, ticking whenever the agent wants it.
    pub fn tick_until(&mut self, ms: u64) -> Vec<Output> {
        let end = self.now.after(Duration::from_millis(ms));
        let mut outputs = Vec::new();
        while let Some(deadline) = self.agent.deadline().map(|timer| timer.at).filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.agent.tick(self.now);
            outputs.extend(self.outputs());
        }
        self.now = end;
        outputs
    }

    /// Lets `ms` go by, and answers every read 10 ms after it was sent as `answer` says. Writes succeed at once. Everything
    /// else that the agent did is returned.
    pub fn serve(
        &mut self,
        outputs: Vec<Output>,
        ms: u64,
        mut answer: impl FnMut(Time, &Read) -> Reply,
    ) -> Vec<Output> {
        let end = self.now.after(Duration::from_millis(ms));
        let (mut todo, mut others) = (VecDeque::from(outputs), Vec::new());
        loop {
            let Some(output) = todo.pop_front() else {
                let Some(at) = self.agent.deadline().map(|timer| timer.at).filter(|at| *at <= end) else { break };
                self.now = self.now.max(at);
                self.agent.tick(self.now);
                todo.extend(self.outputs());
                continue;
            };
            match output {
                Output::Read(id, read) => {
                    self.pass(10);
                    let result = answer(self.now, &read).map(|json| Answer::Json(Bytes::from(json.to_string())));
                    todo.extend(self.read(id, result));
                }
                Output::Write(batch, ops) => {
                    todo.extend(self.written(batch, &ops, |_| Outcome::Changed { created: true, bytes: 1 }));
                    others.push(Output::Write(batch, ops));
                }
                Output::Send(message) if message.push == Push::Heartbeat => {
                    let ok = json!({"status": "ok", "response": {}});
                    let frame = json!([null, message.reference.to_string(), "phoenix", "phx_reply", ok]);
                    todo.extend(self.frame(frame));
                }
                other => others.push(other),
            }
        }
        self.now = self.now.max(end);
        others
    }

    pub fn hydrate(&mut self, revision: u64, files: &[(&str, u64, &str)]) -> Vec<Output> {
        let files = files.iter().map(|(path, version, content)| HydratedFile {
            path: ProjectPath::parse(path).unwrap(),
            version: Some(*version),
            hash: hash(content),
            size: content.len() as u64,
        });
        let hydration = Hydration { revision: Some(revision), files: files.collect() };
        self.handle(Input::Hydrated(hydration))
    }

    pub fn hydrate_without_manifest(&mut self, files: &[(&str, &str)]) {
        let files = files.iter().map(|(path, content)| HydratedFile {
            path: ProjectPath::parse(path).unwrap(),
            version: None,
            hash: hash(content),
            size: content.len() as u64,
        });
        let hydration = Hydration { revision: None, files: files.collect() };
        // What it reads at once is overtaken by the read after the join.
        let outputs = self.handle(Input::Hydrated(hydration));
        let (id, _) = Harness::read_of(&outputs);
        let unavailable = ReadError::Unavailable { error: "not yet".into(), retry_after: None };
        self.read(id, Err(unavailable));
    }

    /// Up to the first catch-up after the join.
    pub fn join(&mut self) -> (ReadId, Read) {
        self.handle(Input::Socket(SocketEvent::Opened));
        self.frame(json!(["1", "1", project_topic(PROJECT), "phx_reply", {"status": "ok", "response": {}}]));
        let ready = json!({"message": "Replication connection established", "status": "ok", "extension": "system"});
        let outputs = self.frame(json!([null, null, project_topic(PROJECT), "system", ready]));
        let found = outputs.into_iter().find_map(|output| match output {
            Output::Read(id, read) => Some((id, read)),
            _ => None,
        });
        found.expect("a catch-up after the join")
    }

    /// Hydrated, joined and caught up.
    pub fn start(&mut self, revision: u64, files: &[(&str, u64, &str)]) {
        let outputs = self.hydrate(revision, files);
        let nothing = json!({"head_revision": revision, "complete": true, "files": []});
        self.answer(Harness::read_of(&outputs).0, nothing.clone());
        let (id, _) = self.join();
        self.answer(id, nothing);
    }

    pub fn frame(&mut self, frame: Value) -> Vec<Output> {
        self.handle(Input::Socket(SocketEvent::Text(Bytes::from(frame.to_string()))))
    }

    pub fn broadcast(&mut self, event: &str, payload: Value) -> Vec<Output> {
        let payload = json!({"type": "broadcast", "event": event, "payload": payload});
        self.frame(json!([null, null, project_topic(PROJECT), "broadcast", payload]))
    }

    /// Broadcasts and lets the disk do at once what the agent asks.
    pub fn writes(&mut self, event: &str, payload: Value) -> Vec<Op> {
        let outputs = self.broadcast(event, payload);
        let mut all = Vec::new();
        for output in outputs {
            if let Output::Write(batch, ops) = output {
                self.written(batch, &ops, |_| Outcome::Changed { created: true, bytes: 1 });
                all.extend(ops);
            }
        }
        all
    }

    pub fn written(&mut self, batch: BatchId, ops: &[Op], outcome: impl Fn(&Op) -> Outcome) -> Vec<Output> {
        let written = ops.iter().map(|op| OpResult { path: op.path().clone(), outcome: outcome(op) }).collect();
        self.handle(Input::Written(batch, written))
    }

    pub fn answer(&mut self, id: ReadId, json: Value) -> Vec<Output> {
        self.read(id, Ok(Answer::Json(Bytes::from(json.to_string()))))
    }

    pub fn read(&mut self, id: ReadId, result: Result<Answer, ReadError>) -> Vec<Output> {
        self.handle(Input::Read(id, result))
    }

    pub fn read_of(outputs: &[Output]) -> (ReadId, &Read) {
        let found = outputs.iter().find_map(|output| match output {
            Output::Read(id, read) => Some((*id, read)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no read in {outputs:?}"))
    }

    pub fn ops_of(outputs: &[Output]) -> Vec<Op> {
        outputs
            .iter()
            .filter_map(|o| if let Output::Write(_, ops) = o { Some(ops.clone()) } else { None })
            .flatten()
            .collect()
    }

    pub fn pushes(outputs: &[Output]) -> Vec<Push> {
        outputs
            .iter()
            .filter_map(|o| if let Output::Send(message) = o { Some(message.push.clone()) } else { None })
            .collect()
    }
}
