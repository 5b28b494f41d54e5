//! The small project with the lock file of each package manager, and the package managers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::{self, Agent};
use crate::archive::{self, Method, PROJECT};
use crate::bench::Bench;
use crate::content::File;
use crate::scratch::Place;

pub const PREPARED: &str = "prepared";

/// Their packages on npm, with the lock file that each writes, and how it writes that alone.
const OTHERS: [(&str, &str, &[&str]); 2] =
    [("pnpm", "pnpm-lock.yaml", &["install", "--lockfile-only"]), ("bun", "bun.lock", &["install", "--lockfile-only"])];
const NPM_LOCK: &str = "package-lock.json";

/// One way to get at the dependencies.
pub struct Manager {
    pub name: &'static str,
    pub files: Vec<File>,
}

pub struct Managers {
    ways: Vec<Manager>,
    missing: Vec<(&'static str, &'static str)>,
    env: Vec<(&'static str, String)>,
    /// `node_modules` as npm made it, by its key.
    tree: PathBuf,
    key: String,
    _temp: tempfile::TempDir,
}

impl Managers {
    /// Installs the package managers where npm can, and npm's `node_modules` once, to be prepared.
    pub fn prepare(bench: &Bench) -> Managers {
        let temp = Place::Disk.dir();
        let home = temp.path().join("home");
        std::fs::create_dir(&home).expect("a directory");
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package-managers");
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", tools.join("node_modules/.bin").display());
        let mut env = vec![("HOME", home.display().to_string()), ("PATH", path)];
        env.extend(settings_of_npm());
        let mut managers = Managers {
            ways: vec![Manager { name: PREPARED, files: fixture() }],
            missing: Vec::new(),
            env,
            tree: temp.path().join("node_modules"),
            key: String::new(),
            _temp: temp,
        };
        if !bench.options.quick {
            managers.ways.push(Manager { name: "npm", files: fixture() });
            managers.install(bench, &tools);
        }
        bench.say("prepared dependencies");
        managers.key = managers.make_tree();
        managers
    }

    pub fn all(&self) -> impl Iterator<Item = &Manager> {
        self.ways.iter()
    }

    /// What is not measured, and why.
    pub fn missing(&self) -> &[(&'static str, &'static str)] {
        &self.missing
    }

    /// Where the package managers and their caches are.
    pub fn env(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.env.iter().cloned()
    }

    /// A directory of prepared dependencies, made in `dir`: a start takes them away.
    pub fn prepared_in(&self, dir: &Path) -> String {
        let prepared = dir.join("prepared");
        let place = prepared.join(&self.key);
        std::fs::create_dir_all(&place).expect("a directory");
        copy(&self.tree, &place.join("node_modules"));
        prepared.display().to_string()
    }

    fn install(&mut self, bench: &Bench, tools: &Path) {
        for (name, lock, args) in OTHERS {
            bench.say(&format!("installing {name}"));
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(tools).arg(name);
            std::fs::create_dir_all(tools).expect("a directory");
            let there = tools.join("node_modules/.bin").join(name).exists();
            let locked = (there || succeeds(&mut npm)).then(|| self.locked(name, lock, args)).flatten();
            match locked {
                Some(files) => self.ways.push(Manager { name, files }),
                None => self.missing.push((name, "could not be installed on this machine")),
            }
        }
    }

    /// The project with this package manager's lock file in place of npm's.
    fn locked(&self, name: &str, lock: &str, args: &[&str]) -> Option<Vec<File>> {
        let temp = tempfile::tempdir().expect("a directory");
        let mut files: Vec<_> = fixture().into_iter().filter(|file| file.path != NPM_LOCK).collect();
        let package = files.iter().find(|file| file.path == "package.json").expect("a package.json");
        std::fs::write(temp.path().join("package.json"), &package.bytes).expect("a file");
        let mut manager = Command::new(name);
        manager.args(args).current_dir(temp.path()).envs(self.env());
        succeeds(&mut manager).then_some(())?;
        let bytes = std::fs::read(temp.path().join(lock)).ok()?;
        files.push(File { path: lock.into(), bytes });
        Some(files)
    }

    /// Lets an agent install with npm, keeps what it made, and gives the key.
    fn make_tree(&self) -> String {
        let temp = tempfile::tempdir().expect("a directory");
        let snapshot = temp.path().join("snapshot.zip");
        std::fs::write(&snapshot, archive::zip(&fixture(), Method::Deflated)).expect("a file");
        let mut env = vec![("PROJECT_ID", PROJECT.to_owned()), ("SESSION_ID", "bench".to_owned())];
        env.extend(self.env());
        let mut agent = Agent::spawn(agent::command(temp.path(), &env).arg("--snapshot").arg(&snapshot));
        agent.wait_for("deps_done");
        agent.wait_for("dev_server_ready");
        agent.terminate();
        let tree = agent::project(temp.path()).join("node_modules");
        copy(&tree, &self.tree);
        std::fs::read_to_string(tree.join(".preview-key")).expect("a key").trim().to_owned()
    }
}

/// `fixtures/react-vite`, as it is committed.
fn fixture() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/react-vite");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the fixture").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if entry.file_name() == "node_modules" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).expect("below it").to_str().expect("text").to_owned();
                files.push(File { path: name, bytes: std::fs::read(&path).expect("a file") });
            }
        }
    }
    files
}

/// Where npm finds its packages, if that is set: the agent's environment and home are built anew.
fn settings_of_npm() -> Vec<(&'static str, String)> {
    let config = |name| {
        let said = Command::new("npm").args(["config", "get", name]).output().ok()?.stdout;
        let said = String::from_utf8(said).ok()?.trim().to_owned();
        (!said.is_empty() && said != "null" && said != "undefined").then_some(said)
    };
    let known = [("registry", "npm_config_registry"), ("cafile", "npm_config_cafile")];
    known.into_iter().filter_map(|(name, variable)| Some((variable, config(name)?))).collect()
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(std::io::stderr()).status().is_ok_and(|status| status.success())
}

fn copy(from: &Path, to: &Path) {
    assert!(succeeds(Command::new("cp").arg("-a").arg(from).arg(to)), "cp failed");
}
