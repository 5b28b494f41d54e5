//! A container on a network that can be cut, and what stands in it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use local_backend::SeedFile;
use serde_json::Value;

use crate::support::world::World;
use crate::support::{DEADLINE, tree};

const NAMESPACE: &str = "preview-test";
const HERE: &str = "10.213.77.1";
const THERE: &str = "10.213.77.2";
const HOST_END: &str = "pv-host";
const STATUS_TOKEN: &str = "a-token-of-the-tests";
const SERVER: &[u8] = include_bytes!("server.mjs");
const HOSTILE: &[u8] = include_bytes!("hostile.mjs");

/// A namespace that hangs on ours by one cable. One at a time: the tests run one after the other.
pub struct Network;

impl Network {
    pub fn new() -> Network {
        remove();
        ip(&format!("netns add {NAMESPACE}"));
        ip(&format!("link add {HOST_END} type veth peer name eth0 netns {NAMESPACE}"));
        ip(&format!("addr add {HERE}/24 dev {HOST_END}"));
        ip(&format!("-n {NAMESPACE} addr add {THERE}/24 dev eth0"));
        ip(&format!("-n {NAMESPACE} link set lo up"));
        ip(&format!("-n {NAMESPACE} link set eth0 up"));
        ip(&format!("link set {HOST_END} up"));
        Network
    }

    /// A backend on our end, outside of every container.
    pub fn world(&self) -> World {
        World::with(|options| {
            options.listen = format!("{HERE}:0").parse().unwrap();
            options.files.push(SeedFile { path: "server.mjs".into(), bytes: SERVER.to_vec() });
            options.files.push(SeedFile { path: "hostile.mjs".into(), bytes: HOSTILE.to_vec() });
        })
    }

    /// The same with the files of a real project.
    pub fn world_of(&self, project: &Path) -> World {
        World::with(|options| {
            options.listen = format!("{HERE}:0").parse().unwrap();
            options.files = tree(project).into_iter().map(|(path, bytes)| SeedFile { path, bytes }).collect();
        })
    }

    /// Nobody is told: what is sent is lost.
    pub fn cut(&self) {
        ip(&format!("link set {HOST_END} down"));
    }

    pub fn mend(&self) {
        ip(&format!("link set {HOST_END} up"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove();
    }
}

/// Left over from a run that was killed, or ours: deleting the namespace alone lets the cable live on for a while.
fn remove() {
    for words in [format!("link delete {HOST_END}"), format!("netns delete {NAMESPACE}")] {
        // There may be nothing to remove.
        let _ = Command::new("ip").args(words.split(' ')).output();
    }
}

fn ip(words: &str) {
    run(Command::new("ip").args(words.split(' ')));
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The image that `tests/container/images` built, run.
pub struct Machine {
    id: String,
}

/// A line of /proc/PID/stat.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}

impl Process {
    pub fn is_orphan(&self) -> bool {
        self.name == "sleep" || self.name == "sh"
    }
}

impl Machine {
    pub fn start(network: &Network, world: &World, options: &[&str]) -> Machine {
        Machine::start_with(network, world, options, &["--", "node", "server.mjs"])
    }

    /// With these arguments of the agent.
    pub fn start_with(_network: &Network, world: &World, options: &[&str], arguments: &[&str]) -> Machine {
        let mut command = Command::new("podman");
        // Its monitor leaves a file named oom where it was started.
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        command.args(["run", "--detach", "--pull=never", "--network", &format!("ns:/run/netns/{NAMESPACE}")]);
        command.args(options).args(["--env", &format!("STATUS_TOKEN={STATUS_TOKEN}")]);
        for (name, value) in world.backend().agent_settings().env() {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg("localhost/preview").args(arguments);
        let machine = Machine { id: run(&mut command).trim().to_owned() };
        eventually_or("the preview answers", || machine.try_get(3001, "/").is_some(), || machine.logs());
        machine
    }

    /// The project's files, as the project's own code reads them, are those of the database.
    pub fn equals(&self, world: &World) {
        let row = |row: local_backend::Row| (row.path, hex(&row.bytes.unwrap_or_default()));
        let wanted: BTreeMap<String, String> = world.store().current().into_iter().map(row).collect();
        let same = || {
            let seen = self.try_get(3001, "/tree").and_then(|tree| serde_json::from_str(&tree).ok());
            seen.as_ref() == Some(&wanted)
        };
        eventually_or("the project equals the database", same, || self.logs());
    }

    pub fn page(&self, path: &str) -> String {
        self.try_get(3001, path).unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.logs()))
    }

    /// Asks without caring for the answer: whoever gives it may be gone before.
    pub fn ask(&self, path: &str) {
        let _ = self.try_get(3001, path);
    }

    /// Whether the agent answers a health check, which is repeated as health checks are: while 1,000 connections arrive at
    /// once, one from another machine may be refused.
    pub fn healthy(&self) -> bool {
        const TRIES: usize = 5;
        (0..TRIES).any(|_| {
            let is_answered = self.try_get(9464, "/healthz").is_some();
            if !is_answered {
                std::thread::sleep(Duration::from_millis(200));
            }
            is_answered
        })
    }

    /// The first log line of this type.
    pub fn logged(&self, event_type: &str) -> Value {
        let logs = run(Command::new("podman").args(["logs", &self.id]));
        let mut lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["event_type"] == event_type).unwrap_or_else(|| panic!("no {event_type}:\n{logs}"))
    }

    pub fn status(&self) -> Value {
        let started = Instant::now();
        loop {
            if let Some(body) = self.try_get(9464, "/status") {
                return serde_json::from_str(&body).unwrap();
            }
            assert!(started.elapsed() < DEADLINE, "no /status:\n{}", self.logs());
        }
    }

    /// The channel's state, asked inside: the network may be cut.
    pub fn connection(&self) -> String {
        const ASK: &str =
            "fetch('http://127.0.0.1:9464/status').then(a => a.json()).then(a => console.log(a.connection.state))";
        self.exec(&["node", "-e", ASK]).trim().to_owned()
    }

    pub fn processes(&self) -> Vec<Process> {
        let stats = self.exec(&["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true"]);
        let one = |line: &str| {
            let (pid, rest) = line.split_once(" (")?;
            Some(Process { pid: pid.parse().ok()?, name: rest.split_once(") ")?.0.to_owned() })
        };
        let seen: Vec<_> = stats.lines().filter_map(one).collect();
        // The shell that lists them is one of them.
        let own = seen.iter().rposition(|process| process.name == "sh");
        seen.into_iter().enumerate().filter(|(at, _)| Some(*at) != own).map(|(_, process)| process).collect()
    }

    /// What it prints, where it can be run and goes well.
    pub fn try_exec(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("podman").args(["exec", &self.id]).args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn exec(&self, words: &[&str]) -> String {
        run(Command::new("podman").args(["exec", &self.id]).args(words))
    }

    pub fn running(&self) -> bool {
        run(Command::new("podman").args(["inspect", "--format", "{{.State.Running}}", &self.id])).trim() == "true"
    }

    /// `podman stop` with so many seconds until KILL; the exit status.
    pub fn stop(&self, seconds: u32) -> i32 {
        run(Command::new("podman").args(["stop", "--time", &seconds.to_string(), &self.id]));
        run(Command::new("podman").args(["inspect", "--format", "{{.State.ExitCode}}", &self.id]))
            .trim()
            .parse()
            .unwrap()
    }

    fn logs(&self) -> String {
        let logs = Command::new("podman").args(["logs", "--tail", "30", &self.id]).output().unwrap();
        String::from_utf8_lossy(&[logs.stdout, logs.stderr].concat()).into_owned()
    }

    /// The body of a 200.
    fn try_get(&self, port: u16, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((THERE, port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let head = format!("GET {path} HTTP/1.0\r\nhost: {THERE}\r\nauthorization: Bearer {STATUS_TOKEN}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        (head.split(' ').nth(1)? == "200").then(|| body.to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What stays is seen in podman's own list.
        let _ = Command::new("podman").args(["rm", "--force", "--time", "0", &self.id]).output();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn eventually_or(what: &str, mut holds: impl FnMut() -> bool, said: impl Fn() -> String) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}\n{}", said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
