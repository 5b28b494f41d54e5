//! A contender's time from its start to its end, and its memory.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub seconds: f64,
    /// Of the largest process, in bytes; none where there is no process to ask.
    pub peak: Option<f64>,
}

/// Runs a command to its end. It is started by a small process in between: a child's peak memory counts from its fork on,
/// when it is as large as its parent, and this one holds the archives.
pub fn run<A: AsRef<OsStr>>(command: impl IntoIterator<Item = A>) -> Measured {
    let itself = std::env::current_exe().expect("a path of its own");
    let output = Command::new(itself).arg("--as-parent-of").args(command).output().expect("itself, once more");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let seconds = said["seconds"].as_f64();
    let Some(seconds) = seconds.filter(|_| output.status.success()) else {
        panic!("a contender failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    Measured { seconds, peak: said["peak_kib"].as_f64().map(|kib| kib * 1024.0) }
}

/// The process in between.
pub fn child(command: &[String]) -> ExitCode {
    let started = Instant::now();
    let (program, args) = command.split_first().expect("a command");
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let seconds = started.elapsed().as_secs_f64();
    match status {
        Ok(status) if status.success() => {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("one's own usage");
            let said = json!({"seconds": seconds, "peak_kib": usage.max_rss()});
            writeln!(std::io::stdout(), "{said}").expect("a pipe");
            ExitCode::SUCCESS
        }
        Ok(status) => {
            eprintln!("{command:?} ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The most memory that a living process ever had resident, in bytes.
pub fn peak_of(pid: u32) -> f64 {
    status_of(pid, "VmHWM:")
}
/// What it has resident now, in bytes.
pub fn resident_of(pid: u32) -> f64 {
    status_of(pid, "VmRSS:")
}

/// The same without the pages of files.
pub fn own_of(pid: u32) -> f64 {
    status_of(pid, "RssAnon:")
}

/// Seconds of processor that a process has used, its threads' included.
pub fn cpu_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a living process");
    // After the name, which may hold anything, up to the last bracket.
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks: f64 = { fields }.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn status_of(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a line of memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") * 1024.0
}
