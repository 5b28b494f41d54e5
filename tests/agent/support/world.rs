//! A backend with a small project in it, and agents that follow it.

use local_backend::{Backend, BackendOptions, FileContent, SeedFile, Store};
use tokio::runtime::Runtime;

use super::{Agent, Start, eventually, tree};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\xff\xfe";

/// A backend with a small project, on a runtime of its own.
pub struct World {
    runtime: Runtime,
    backend: Option<Backend>,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut BackendOptions)) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let file = |path: &str, bytes: &[u8]| SeedFile { path: path.into(), bytes: bytes.to_vec() };
        let mut options = BackendOptions {
            files: vec![
                file("package.json", b"{\"name\":\"x\"}"),
                file("src/App.tsx", b"export default 1"),
                file("src/logo.png", PNG),
                file("index.html", b"<p>hello"),
            ],
            ..BackendOptions::default()
        };
        change(&mut options);
        let backend = Some(runtime.block_on(Backend::start(options)).unwrap());
        World { runtime, backend }
    }

    pub fn backend(&self) -> &Backend {
        self.backend.as_ref().unwrap()
    }

    pub fn store(&self) -> Store {
        self.backend().store()
    }

    pub fn save(&self, path: &str, text: &str) {
        self.store().upsert(path, FileContent::Text(text.into()), None, "test").unwrap();
    }

    pub fn start(&self) -> Start {
        Start::new(self.backend().agent_settings().env())
    }

    /// An agent that has hydrated and joined.
    pub fn agent(&self) -> Agent {
        let mut agent = self.start().run();
        agent.wait_for("channel_joined");
        self.in_sync(&agent);
        agent
    }

    /// An agent that has also made the catch-up of its join: what is saved from now on reaches it by events only.
    pub fn current_agent(&self) -> Agent {
        let mut agent = self.agent();
        eventually("the agent has caught up after its join", || agent.status()["current"] == true);
        agent
    }

    /// The test's own comparison: same paths, same bytes.
    pub fn equal(&self, agent: &Agent) -> bool {
        let row = |row: local_backend::Row| (row.path, row.bytes.map(|bytes| bytes.to_vec()).unwrap_or_default());
        let wanted = self.store().current().into_iter().map(row).collect();
        tree(&agent.project()) == wanted
    }

    /// In sync, with these paths made by the project's own code.
    pub fn in_sync_but(&self, agent: &Agent, made: &[&str]) {
        let row = |row: local_backend::Row| (row.path, row.bytes.map(|bytes| bytes.to_vec()).unwrap_or_default());
        eventually("the directory equals the database", || {
            let mut standing = tree(&agent.project());
            standing.retain(|path, _| !made.contains(&path.as_str()));
            standing == self.store().current().into_iter().map(row).collect()
        });
    }

    pub fn in_sync(&self, agent: &Agent) {
        eventually("the directory equals the database", || self.equal(agent));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.runtime.block_on(backend.stop());
        }
    }
}
