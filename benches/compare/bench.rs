//! What every family is given.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent;
use crate::options::Options;
use crate::tools::Tools;

pub struct Bench {
    pub options: Options,
    pub tools: Tools,
}

impl Bench {
    pub fn new(options: Options) -> Bench {
        let tools = Tools::look(&options);
        for name in tools.missing() {
            eprintln!("{name} is not on this machine: what needs it is left out");
        }
        if tools.has("npm") {
            install(&clients());
        }
        if let Some(parent) = &options.parent {
            agent::set_parent(parent.clone());
        }
        Bench { options, tools }
    }

    /// The full size, or the small one that only shows that it runs.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.options.quick { quick } else { full }
    }

    /// One line of progress.
    pub fn say(&self, what: &str) {
        eprintln!("   {what}");
    }
}

/// The clients that people would write, in JavaScript and Python.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/clients")
}

/// Installs the packages of a folder, once.
pub fn install(package: &Path) {
    if package.join("node_modules").exists() {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(package).stdout(std::io::stderr());
    let status = npm.status();
    assert!(status.is_ok_and(|status| status.success()), "npm ci failed in {}", package.display());
}
