//! The real binary, as the comparisons start it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub struct Agent {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts `preview-agent run` on `dir`, logging JSON, with a dev server that does nothing.
    pub fn start(dir: &Path, env: &[(&str, String)]) -> Agent {
        let mut child = Command::new(env!("CARGO_BIN_EXE_preview-agent"))
            .args(["run", "--log-format", "json", "--status-addr", "127.0.0.1:0", "--project-dir"])
            .arg(dir.join("project"))
            .args(["--", "sleep", "3600"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .envs(env.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Agent { child, lines }
    }

    /// Reads on until an event of this type is logged.
    pub fn wait_for(&mut self, event_type: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("lines of text");
            assert!(read > 0, "the agent ended before {event_type}");
            let event: serde_json::Value = serde_json::from_str(&line).expect("a JSON object");
            if event["event_type"] == event_type {
                return;
            }
            assert!(event["event_type"] != "failed", "{line}");
        }
    }

    /// The most memory it ever had resident, in MiB.
    pub fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a living agent");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a VmHWM line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }

    /// Keeps its output moving from now on, so that a full pipe never holds it up.
    pub fn drain(self) -> Child {
        let Agent { child, mut lines } = self;
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        child
    }

    pub fn stop(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}
