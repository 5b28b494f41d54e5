//! The real binary as the tests start it, and comparisons that they make themselves.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod markdown;
pub mod preview;
pub mod world;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Generous: these machines are slow at times, and a test is about whether things arrive, not when.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running agent, with its project in a directory of its own.
pub struct Agent {
    child: Child,
    lines: Receiver<String>,
    /// Everything read so far.
    pub seen: Vec<Value>,
    temp: Option<tempfile::TempDir>,
    status: Option<String>,
}

/// How the agent is started.
pub struct Start {
    pub env: Vec<(String, String)>,
    pub args: Vec<String>,
    pub dev_server: Vec<String>,
    /// A command that becomes the agent in the end.
    pub through: Vec<String>,
    pub temp: tempfile::TempDir,
}

impl Start {
    /// With the settings of a session, and a dev server that only waits.
    pub fn new(env: Vec<(&'static str, String)>) -> Start {
        Start {
            env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            args: Vec::new(),
            dev_server: ["sleep", "3600"].map(str::to_owned).to_vec(),
            through: Vec::new(),
            temp: open_dir(),
        }
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Start {
        self.unset(name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Start {
        self.unset(name);
        self
    }

    fn unset(&mut self, name: &str) {
        self.env.retain(|(known, _)| known != name);
    }

    pub fn arg(mut self, arg: &str) -> Start {
        self.args.push(arg.to_owned());
        self
    }

    /// In a directory that is there already.
    pub fn in_dir(mut self, temp: tempfile::TempDir) -> Start {
        self.temp = temp;
        self
    }

    pub fn project(&self) -> PathBuf {
        self.temp.path().join("project")
    }

    pub fn run(self) -> Agent {
        // The agent listens on it, and tests run at the same time.
        let mut env = self.env.clone();
        if !env.iter().any(|(name, _)| name == "PREVIEW_PORT") {
            env.push(("PREVIEW_PORT".to_owned(), port().to_string()));
        }
        let words = [&self.through[..], &[env!("CARGO_BIN_EXE_preview-agent").to_owned()]].concat();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--log-format", "json", "--status-addr", "127.0.0.1:0", "--project-dir"])
            .arg(self.project())
            .args(&self.args)
            .arg("--")
            .args(&self.dev_server)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(env)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Agent { child, lines, seen: Vec::new(), temp: Some(self.temp), status: None }
    }
}

impl Agent {
    pub fn dir(&self) -> &Path {
        self.temp.as_ref().unwrap().path()
    }

    pub fn project(&self) -> PathBuf {
        self.dir().join("project")
    }

    /// Kills it, as a crash would, and leaves its directory to another.
    pub fn crash(mut self) -> tempfile::TempDir {
        self.temp.take().unwrap()
    }

    /// The next event of this type.
    pub fn wait_for(&mut self, event_type: &str) -> Value {
        self.wait_until(event_type, |event| event["event_type"] == event_type)
    }

    /// The next event that fits.
    pub fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let tail: VecDeque<_> = self.seen.iter().rev().take(20).rev().map(Value::to_string).collect();
                panic!("no {what} came; the last lines:\n{}", Vec::from(tail).join("\n"));
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            self.seen.push(event.clone());
            if fits(&event) {
                return event;
            }
        }
    }

    /// Takes in what was logged until now.
    pub fn read_on(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(serde_json::from_str(&line).unwrap());
        }
    }

    /// The address of the status server.
    pub fn status_addr(&mut self) -> String {
        if self.status.is_none() {
            let known = self.seen.iter().find(|event| event["event_type"] == "status_listening").cloned();
            let event = known.unwrap_or_else(|| self.wait_for("status_listening"));
            self.status = Some(event["addr"].as_str().unwrap().to_owned());
        }
        self.status.clone().unwrap()
    }

    /// A page of the status server: its HTTP status and body.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        http_get(&self.status_addr(), path)
    }

    pub fn status(&mut self) -> Value {
        let (status, body) = self.get("/status");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: the exit status, and what was said on standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return (status, said);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the agent did not end");
    }

    /// TERM, and the status it ends with.
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.end().0
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary directory that other users may go through: the project's code is one of them where the agent is root.
pub fn open_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// A port that is free now.
pub fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One plain HTTP request.
pub fn http_get(addr: &str, path: &str) -> (u16, String) {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Looks again and again until it holds.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_within(DEADLINE, what, holds);
}

/// As [`eventually`], with another deadline.
pub fn eventually_within(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every file below `dir` but those in node_modules, by path.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(dir, "", &mut files);
    files
}

fn collect(dir: &Path, above: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        if name == "node_modules" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &path, files);
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            // A file that went away between the listing and the read is not there.
            files.insert(path, bytes);
        }
    }
}
