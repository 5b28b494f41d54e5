//! What is resident.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::{self, Agent};
use crate::archive::{self, Method};
use crate::bench::Bench;
use crate::content;
use crate::measured;
use crate::scratch::Place;
use crate::served::Served;
use crate::server::{Server, Speed};

/// In bytes.
pub struct Resident {
    pub all: f64,
    /// Without the pages of files, which are mostly the binary.
    pub own: f64,
}

/// Until whatever a start needed is given back.
const SETTLED: Duration = Duration::from_secs(2);

/// Of an agent that hydrated a small project, joined, and has nothing to do.
pub fn idle(bench: &Bench, binary: &Path) -> Resident {
    let temp = Place::Tmpfs.dir();
    let backend = Served::start(content::project(30, 200_000));
    let command = &mut agent::command_of(binary, temp.path(), &backend.agent_settings().env());
    let mut agent = Agent::spawn(command.args(["--", "sleep", "3600"]));
    agent.wait_for("catch_up");
    std::thread::sleep(bench.size(SETTLED, Duration::from_millis(200)));
    let resident = Resident { all: measured::resident_of(agent.pid()), own: measured::own_of(agent.pid()) };
    agent.stop();
    backend.stop();
    resident
}

/// A large project on a server.
pub struct Large {
    server: Server,
    files: usize,
    bytes: usize,
}

impl Large {
    pub fn new(bench: &Bench) -> Large {
        let (files, bytes) = bench.size((2_000, 50_000_000), (60, 600_000));
        let archive = archive::zip(&content::project(files, bytes), Method::Deflated);
        Large { server: Server::start(Arc::new(archive), Speed::Unthrottled), files, bytes }
    }

    pub fn name(&self) -> String {
        format!("{} files, {}, deflated", self.files, crate::report::megabytes(self.bytes as f64))
    }

    /// The peak of a hydration, in bytes.
    pub fn hydrating(&self, binary: &Path) -> f64 {
        let temp = Place::Tmpfs.dir();
        let env = agent::session(self.server.url());
        let mut agent = Agent::spawn(agent::command_of(binary, temp.path(), &env).args(["--", "sleep", "3600"]));
        agent.wait_for("hydrate_done");
        let peak = measured::peak_of(agent.pid());
        agent.stop();
        peak
    }
}
