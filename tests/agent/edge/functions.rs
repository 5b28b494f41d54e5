use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Both functions in one Deno, behind one address. Dropped, they end, and so does every machine that they left.
pub struct Functions {
    pub url: String,
    deno: Child,
    /// Closing it ends Deno.
    input: Option<ChildStdin>,
    pub machines: tempfile::TempDir,
    said: Arc<Mutex<String>>,
}

impl Functions {
    /// With these settings; machines are processes of this computer unless `settings` say otherwise.
    pub fn start(settings: &[(&str, &str)]) -> Functions {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("supabase/functions");
        let deno = home.join("node_modules/.bin/deno");
        assert!(deno.exists(), "Deno is missing: npm ci --prefix supabase/functions");
        let machines = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(deno);
        command
            .args(["run", "--allow-all", "tests/gateway.ts"])
            .current_dir(&home)
            .env("NO_COLOR", "1")
            .env("MACHINES_PROVIDER", "local")
            .env("LOCAL_AGENT_BINARY", env!("CARGO_BIN_EXE_preview-agent"))
            .env("LOCAL_MACHINES_DIR", machines.path())
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut deno = command.spawn().expect("Deno starts");
        let input = deno.stdin.take();
        let said = Arc::new(Mutex::new(String::new()));
        keep(deno.stderr.take().expect("its errors"), said.clone());
        let mut out = BufReader::new(deno.stdout.take().expect("its output"));
        let mut first = String::new();
        out.read_line(&mut first).expect("its first line");
        let port = first.trim().strip_prefix("listening ").expect("the functions listen").to_owned();
        keep(out, said.clone());
        Functions { url: format!("http://127.0.0.1:{port}/functions/v1"), deno, input, machines, said }
    }

    /// The most memory that Deno has had. (npm starts it by a script of its own.)
    pub fn peak_mb(&self) -> u64 {
        let children = format!("/proc/{0}/task/{0}/children", self.deno.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_whitespace().map(str::to_owned).chain([self.deno.id().to_string()]);
        let peak = |pid: String| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().split(' ').next()?;
            line.parse::<u64>().ok()
        };
        pids.filter_map(peak).max().unwrap_or(0) / 1024
    }

    /// Everything that they have logged.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Shows each line with the test, too.
fn keep(output: impl Read + Send + 'static, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("functions: {line}");
            *said.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
        }
    });
}

impl Drop for Functions {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has its own end to report and nothing that could be done about it here.
        let _ = self.deno.wait();
        for machine in std::fs::read_dir(self.machines.path()).into_iter().flatten().flatten() {
            let kept = std::fs::read(machine.path().join("machine.json")).unwrap_or_default();
            let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
            if let Some(pid) = kept["pid"].as_i64() {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).output();
            }
        }
    }
}
