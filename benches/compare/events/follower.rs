//! Who follows the changes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use local_backend::Backend;

use crate::agent::{self, Agent};
use crate::bench::clients;

pub const AGENT: &str = "preview-agent";
pub const NODE: &str = "Node, supabase-js";
const FLOOR: &str = "floor";

pub struct Follower {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    /// Starts it, and waits until it hears everything; the floor is nobody.
    pub start: fn(&Path, &Backend) -> Option<Child>,
}

/// In the order of the tables.
pub const ALL: [Follower; 3] = [
    Follower { name: AGENT, needs: &[], start: |dir, backend| Some(by_agent(dir, backend)) },
    Follower { name: NODE, needs: &["node", "npm"], start: |dir, backend| Some(by_node(dir, backend)) },
    Follower { name: FLOOR, needs: &[], start: |_, _| None },
];

pub fn by_agent(dir: &Path, backend: &Backend) -> Child {
    let mut agent = Agent::start(dir, &backend.session().env());
    agent.wait_for("channel_joined");
    agent.wait_for("catch_up");
    agent.drain()
}

fn by_node(dir: &Path, backend: &Backend) -> Child {
    let mut child = Command::new("node")
        .arg(clients().join("follow.mjs"))
        .arg(agent::project(dir))
        .envs(backend.session().env())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "joined");
    child
}
