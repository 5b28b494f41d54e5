//! The real binary, as the comparisons start it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::archive::PROJECT;

static PARENT: OnceLock<PathBuf> = OnceLock::new();

pub struct Agent {
    running: Running,
    lines: BufReader<ChildStdout>,
}

/// Where [`command`] puts the project below its directory.
pub fn project(dir: &Path) -> PathBuf {
    dir.join("project")
}

/// The binary that cargo built along with this one.
pub fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_preview-agent"))
}

/// Names the older binary, once.
pub fn set_parent(binary: PathBuf) {
    PARENT.set(binary).expect("it is set once");
}

/// The older binary that `--parent` named.
pub fn parent() -> &'static Path {
    PARENT.get().expect("its contenders run only where it was named")
}

/// As [`command_of`], of the binary that was built along.
pub fn command(dir: &Path, env: &[(&'static str, String)]) -> Command {
    command_of(built(), dir, env)
}

/// `preview-agent run` on a project in `dir`, logging JSON to a pipe. It changes no owners, as nobody here does.
pub fn command_of(binary: &Path, dir: &Path, env: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["run", "--log-format", "json", "--status-addr", "127.0.0.1:0", "--preview-user", "none"])
        .arg("--project-dir")
        .arg(project(dir))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        // The agent listens there, and several agents run at the same time.
        .env("PREVIEW_PORT", free_port().to_string())
        .envs(env.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The same under strace, which counts its system calls and those of its children, and writes them to `summary` at
/// its end.
pub fn traced(command: &Command, summary: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-c", "-I", "2", "-o"])
        .arg(summary)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.stdout(Stdio::piped()).stderr(Stdio::null());
    traced
}

/// A port of the loopback that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    listener.and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// The environment of an agent that hydrates from this URL, and hears of no change.
pub fn session(url: String) -> Vec<(&'static str, String)> {
    vec![("PROJECT_ID", PROJECT.to_owned()), ("SESSION_ID", "bench".to_owned()), ("SNAPSHOT_URL", url)]
}

impl Agent {
    /// Starts it with a dev server that does nothing.
    pub fn start(dir: &Path, env: &[(&'static str, String)]) -> Agent {
        Agent::start_of(built(), dir, env)
    }

    /// The same of this binary.
    pub fn start_of(binary: &Path, dir: &Path, env: &[(&'static str, String)]) -> Agent {
        Agent::spawn(command_of(binary, dir, env).args(["--", "sleep", "3600"]))
    }

    pub fn spawn(command: &mut Command) -> Agent {
        let mut child = command.spawn().expect("the agent starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Agent { running: Running(child), lines }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The next event; the end of the agent, or a failed hydration, is nothing to go on with.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("lines of text");
        assert!(read > 0, "the agent ended");
        let event: Value = serde_json::from_str(&line).expect("a JSON object");
        assert!(event["event_type"] != "failed", "{line}");
        event
    }

    /// Reads on until an event of this type is logged, and gives it.
    pub fn wait_for(&mut self, event_type: &str) -> Value {
        loop {
            let event = self.next();
            if event["event_type"] == event_type {
                return event;
            }
        }
    }

    /// Keeps its output moving from now on, so that a full pipe never holds it up, and shows each line.
    pub fn drain(self, show: impl Fn(&str) + Send + 'static) -> Running {
        let Agent { running, lines } = self;
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| show(&line)));
        running
    }

    /// Lets it end by itself.
    pub fn terminate(self) {
        drop(self.drain(|_| {}));
    }

    pub fn stop(mut self) {
        self.running.0.kill().expect("it runs");
    }
}

/// A process that is asked to end, and waited for, when this is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
