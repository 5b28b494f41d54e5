use std::path::PathBuf;

use crate::directory::Directory;
use crate::process::Environment;

/// The package managers that the agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the programs")]
pub enum Manager {
    Npm,
    Pnpm,
    /// Version 1.
    Yarn,
    /// Version 2 and later: another program with the same name.
    YarnBerry,
    Bun,
}

/// Where a project has several lock files, the first one in this list counts: a second manager is added to a project
/// that has npm's lock file, not the other way round.
pub(super) const LOCK_FILES: [(&str, Manager); 6] = [
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("yarn.lock", Manager::Yarn),
    ("bun.lock", Manager::Bun),
    ("bun.lockb", Manager::Bun),
    ("npm-shrinkwrap.json", Manager::Npm),
    ("package-lock.json", Manager::Npm),
];

/// The start of yarn.lock that is read to find out which Yarn made it, in bytes.
const BERRY_MARK: &[u8] = b"\n__metadata:";

/// How a manager treats the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockUse {
    /// Install exactly what the lock file names, and fail where package.json does not match it.
    Frozen,
    /// Install what package.json names, with the versions of the lock file where they still match. Do not write it.
    Loose,
    /// Install what package.json names, as if there were no lock file.
    Ignored,
}

impl Manager {
    /// The exact manager, where the lock file's content tells more than its name.
    pub fn refined(self, lock: &[u8]) -> Manager {
        match self {
            Manager::Yarn if lock.windows(BERRY_MARK.len()).any(|part| part == BERRY_MARK) => Manager::YarnBerry,
            other => other,
        }
    }

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Npm => "npm",
            Manager::Pnpm => "pnpm",
            Manager::Yarn | Manager::YarnBerry => "yarn",
            Manager::Bun => "bun",
        }
    }

    /// How this manager can be run with `environment`: by its own program, else by Corepack, which comes with Node and
    /// downloads pnpm and Yarn in the version that the project asks for.
    pub(super) fn tool(self, environment: &Environment) -> Option<Tool> {
        if let Some(program) = environment.find(self.name()) {
            return Some(Tool::Own(program));
        }
        match self {
            Manager::Pnpm | Manager::Yarn | Manager::YarnBerry => environment.find("corepack").map(Tool::Corepack),
            Manager::Npm | Manager::Bun => None,
        }
    }

    /// Arguments of an install. Yarn 2 and later always writes the lock file unless it is frozen: it is run on a copy of it,
    /// or not at all.
    pub(super) fn arguments(self, lock: LockUse) -> &'static [&'static str] {
        use LockUse::{Frozen, Ignored, Loose};
        match (self, lock) {
            (Manager::Npm, Frozen) => &["ci", "--include=dev", "--no-audit", "--no-fund", "--no-progress"],
            (Manager::Npm, Loose) => {
                &["install", "--include=dev", "--no-save", "--no-audit", "--no-fund", "--no-progress"]
            }
            (Manager::Npm, Ignored) => &[
                "install",
                "--include=dev",
                "--no-save",
                "--no-package-lock",
                "--no-audit",
                "--no-fund",
                "--no-progress",
            ],
            (Manager::Pnpm, Frozen) => &["install", "--frozen-lockfile", "--prod=false"],
            (Manager::Pnpm, Loose | Ignored) => &["install", "--no-lockfile", "--prod=false"],
            (Manager::Yarn, Frozen) => &["install", "--frozen-lockfile", "--non-interactive", "--production=false"],
            (Manager::Yarn, Loose) => &["install", "--pure-lockfile", "--non-interactive", "--production=false"],
            (Manager::Yarn, Ignored) => &["install", "--no-lockfile", "--non-interactive", "--production=false"],
            (Manager::YarnBerry, Frozen) => &["install", "--immutable"],
            (Manager::YarnBerry, Loose | Ignored) => &["install"],
            (Manager::Bun, Frozen) => &["install", "--frozen-lockfile"],
            (Manager::Bun, Loose | Ignored) => &["install", "--no-save"],
        }
    }

    /// Environment variables: no questions, no colours, no notices, and a tree that Node finds by itself. Corepack, which may
    /// stand behind the program, asks no question either and does not change package.json.
    pub(super) fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Manager::Npm => &[
                ("CI", "1"),
                ("NO_COLOR", "1"),
                ("npm_config_update_notifier", "false"),
                // npm waits 10 s before it asks a host again that cannot be reached.
                ("npm_config_fetch_retry_mintimeout", "1000"),
                ("npm_config_fetch_retry_maxtimeout", "5000"),
            ],
            Manager::YarnBerry => &[
                ("CI", "1"),
                ("NO_COLOR", "1"),
                ("YARN_NODE_LINKER", "node-modules"),
                ("YARN_ENABLE_GLOBAL_CACHE", "true"),
                ("YARN_ENABLE_TELEMETRY", "0"),
                ("YARN_ENABLE_IMMUTABLE_INSTALLS", "false"),
                ("YARN_INSTALL_STATE_PATH", "node_modules/.yarn-install-state.gz"),
                ("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"),
                ("COREPACK_ENABLE_AUTO_PIN", "0"),
            ],
            Manager::Pnpm => &[
                ("CI", "1"),
                // It would download the version that package.json names, and fail where it cannot.
                ("npm_config_manage_package_manager_versions", "false"),
                ("NO_COLOR", "1"),
                ("npm_config_fetch_retry_mintimeout", "1000"),
                ("npm_config_fetch_retry_maxtimeout", "5000"),
                ("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"),
                ("COREPACK_ENABLE_AUTO_PIN", "0"),
            ],
            Manager::Yarn => &[
                ("CI", "1"),
                ("NO_COLOR", "1"),
                ("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"),
                ("COREPACK_ENABLE_AUTO_PIN", "0"),
            ],
            Manager::Bun => &[("CI", "1"), ("NO_COLOR", "1")],
        }
    }

    /// A file in `node_modules` that this manager alone leaves there. Bun leaves none.
    pub(super) fn tree_mark(self) -> Option<&'static str> {
        match self {
            Manager::Npm => Some(".package-lock.json"),
            Manager::Pnpm => Some(".modules.yaml"),
            Manager::Yarn => Some(".yarn-integrity"),
            Manager::YarnBerry => Some(".yarn-state.yml"),
            Manager::Bun => None,
        }
    }

    /// Whether an install can begin with a copy of the tree that this manager made before. pnpm and Yarn 2 link from their
    /// own store, which costs less than the copy.
    pub(super) fn continues_tree(self, tree: &Directory) -> bool {
        match self {
            Manager::Npm | Manager::Yarn => self.tree_mark().is_some_and(|mark| tree.has_file(mark)),
            Manager::Bun => {
                let others = [Manager::Npm, Manager::Pnpm, Manager::Yarn, Manager::YarnBerry];
                !others.iter().filter_map(|manager| manager.tree_mark()).any(|mark| tree.has_file(mark))
            }
            Manager::Pnpm | Manager::YarnBerry => false,
        }
    }
}

/// The program that runs a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tool {
    /// The manager's own program.
    Own(PathBuf),
    /// Corepack, which takes the manager's name as its first argument.
    Corepack(PathBuf),
}
