//! What both comparisons need.

pub mod agent;
pub mod events;
pub mod hydrate;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the Node client lies.
pub fn node_client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node-client")
}

pub fn install_node_client() {
    if node_client().join("node_modules").exists() {
        return;
    }
    let status = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(node_client()).status();
    assert!(status.expect("npm runs").success(), "npm ci failed in benches/node-client");
}

/// A directory on tmpfs where there is one, so that the disk's moods stay out; else where TMPDIR says.
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// The value below which `share` of the sorted values lie.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[at - 1]
}

pub fn median(values: &[f64]) -> f64 {
    percentile(&sorted(values), 0.5)
}

pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// One row of a table: a contender, its figures, and how its first compares with the first row's.
pub fn row(name: &str, figures: &[f64], unit: &str, first: f64) {
    let figures: Vec<_> = figures.iter().map(|figure| format!("{figure:>9.2} {unit}")).collect();
    println!("{name:<28} {}  {:>6.2} x", figures.join(" "), first);
}
