//! Who follows the changes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use local_backend::Backend;

use crate::agent::{self, Agent, Running};
use crate::bench::clients;
use crate::tools;

pub const AGENT: &str = "preview-agent";
/// The agent of another commit.
pub const PARENT: &str = "parent commit";
pub const NODE: &str = "Node, supabase-js";
const FLOOR: &str = "floor";

pub struct Follower {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    /// Starts it, and waits until it hears everything; the floor is nobody.
    pub start: fn(&Path, &Backend) -> Option<Following>,
}

/// In the order of the tables.
pub static ALL: [Follower; 4] = [
    Follower { name: AGENT, needs: &[], start: |dir, backend| Some(by_agent(agent::built(), dir, backend)) },
    Follower {
        name: PARENT,
        needs: &[tools::PARENT],
        start: |dir, backend| Some(by_agent(agent::parent(), dir, backend)),
    },
    Follower { name: NODE, needs: &["node", "npm"], start: |dir, backend| Some(by_node(dir, backend)) },
    Follower { name: FLOOR, needs: &[], start: |_, _| None },
];

/// The follower of this name.
pub fn named(name: &str) -> &'static Follower {
    ALL.iter().find(|follower| follower.name == name).expect("a follower")
}

/// The agent with its system calls counted, in [`traced_to`].
pub const TRACED: Follower = Follower {
    name: AGENT,
    needs: &["strace"],
    start: |dir, backend| {
        let mut command = agent::command(dir, &backend.agent_settings().env());
        Some(followed(Agent::spawn(&mut agent::traced(command.args(["--", "sleep", "3600"]), &traced_to(dir)))))
    },
};

/// Where strace writes.
pub fn traced_to(dir: &Path) -> PathBuf {
    dir.join("calls")
}

/// One that runs.
pub struct Following {
    running: Running,
    /// When it joined the channel, each time since it was started; a Node client does not tell.
    joined: Option<Receiver<Instant>>,
}

impl Following {
    /// When it joined the channel again; waits for that.
    pub fn joined(&self) -> Instant {
        self.joined.as_ref().expect("it tells").recv().expect("it joins again")
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
}

fn by_agent(binary: &Path, dir: &Path, backend: &Backend) -> Following {
    followed(Agent::start_of(binary, dir, &backend.agent_settings().env()))
}

fn followed(mut agent: Agent) -> Following {
    agent.wait_for("channel_joined");
    agent.wait_for("catch_up");
    let (sender, joined) = channel();
    let running = agent.drain(move |line| {
        if line.contains(r#""event_type":"channel_joined""#) {
            // Nobody need listen.
            let _ = sender.send(Instant::now());
        }
    });
    Following { running, joined: Some(joined) }
}

fn by_node(dir: &Path, backend: &Backend) -> Following {
    let child = Command::new("node")
        .arg(clients().join("follow.mjs"))
        .arg(agent::project(dir))
        .envs(backend.agent_settings().env())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut running = Running(child);
    let mut line = String::new();
    let out = running.0.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "joined");
    Following { running, joined: None }
}
