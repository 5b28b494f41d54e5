//! What the figures were measured on.

use std::process::Command;

use crate::scratch::Place;

/// One line for each thing that figures depend on.
pub fn describe() -> Vec<String> {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let memory = memory.map_or("unknown".into(), |kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output().map(|said| said.stdout).unwrap_or_default();
    let disk = Place::Disk.kind();
    vec![
        format!("{cpu}, {cores} cores, {memory} of memory"),
        format!("Linux {}; tmpfs is {}, disk is {disk}", kernel.trim(), Place::Tmpfs.kind()),
        String::from_utf8_lossy(&rustc).trim().to_owned(),
        format!("load at the start {}", load()),
    ]
}

/// What else ran here, on average of the last minute.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
