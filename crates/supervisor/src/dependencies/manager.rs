use crate::directory::Directory;

/// The package managers that the agent knows, each by its lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
const LOCK_FILES: [(&str, Manager); 6] = [
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("yarn.lock", Manager::Yarn),
    ("bun.lock", Manager::Bun),
    ("bun.lockb", Manager::Bun),
    ("npm-shrinkwrap.json", Manager::Npm),
    ("package-lock.json", Manager::Npm),
];

impl Manager {
    /// The manager and the lock file that `dir` holds.
    pub fn of(dir: &Directory) -> Option<(Manager, &'static str)> {
        LOCK_FILES.iter().find(|(name, _)| dir.has_file(name)).map(|(name, manager)| (*manager, *name))
    }

    /// The exact manager, where the lock file's content tells more than its name.
    pub fn refined(self, lock: &[u8]) -> Manager {
        let berry = b"\n__metadata:";
        match self {
            Manager::Yarn if lock.windows(berry.len()).any(|part| part == berry) => Manager::YarnBerry,
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

    /// Arguments that install exactly what the lock file names, and fail where package.json does not match it.
    pub(super) fn frozen(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["ci", "--include=dev", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--frozen-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--frozen-lockfile", "--non-interactive", "--production=false"],
            Manager::YarnBerry => &["install", "--immutable"],
            Manager::Bun => &["install", "--frozen-lockfile"],
        }
    }

    /// Arguments that install what package.json names, with the versions of the lock file where they still match, and do
    /// not write the lock file. Yarn 2 and later always writes it: it is run on a copy of the lock file, or not at all.
    pub(super) fn loose(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["install", "--include=dev", "--no-save", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--no-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--pure-lockfile", "--non-interactive", "--production=false"],
            Manager::YarnBerry => &["install"],
            Manager::Bun => &["install", "--no-save"],
        }
    }

    /// Environment variables: no questions, no colours, no notices, and a tree that Node finds by itself.
    pub(super) fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Manager::Npm => &[("CI", "1"), ("NO_COLOR", "1"), ("npm_config_update_notifier", "false")],
            Manager::YarnBerry => &[
                ("CI", "1"),
                ("NO_COLOR", "1"),
                ("YARN_NODE_LINKER", "node-modules"),
                ("YARN_ENABLE_GLOBAL_CACHE", "true"),
                ("YARN_ENABLE_TELEMETRY", "0"),
                ("YARN_ENABLE_IMMUTABLE_INSTALLS", "false"),
                ("YARN_INSTALL_STATE_PATH", "node_modules/.yarn-install-state.gz"),
            ],
            _ => &[("CI", "1"), ("NO_COLOR", "1")],
        }
    }

    /// Whether a line of a failed frozen install means that lock file and package.json do not match.
    pub(super) fn reports_mismatch(self, line: &str) -> bool {
        let signs: &[&str] = match self {
            Manager::Npm => &["can only install packages when your package.json", "code EUSAGE"],
            Manager::Pnpm => {
                &["OUTDATED_LOCKFILE", "LOCKFILE_CONFIG_MISMATCH", "specifiers in the lockfile don't match"]
            }
            Manager::Yarn => &["needs to be updated"],
            Manager::YarnBerry => &["YN0028"],
            Manager::Bun => &["lockfile had changes, but lockfile is frozen"],
        };
        signs.iter().any(|sign| line.contains(sign))
    }
}
