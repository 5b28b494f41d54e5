use std::path::Path;

/// The package managers that a lock file can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Manager {
    Npm,
    Pnpm,
    /// Version 1.
    Yarn,
    /// Version 2 and later, another program under the same name.
    YarnBerry,
    Bun,
}

/// In the order of precedence where a project has several: whoever adds a second manager adds its lock file.
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
    pub fn of(dir: &Path) -> Option<(Manager, &'static str)> {
        LOCK_FILES.iter().find(|(name, _)| dir.join(name).is_file()).map(|(name, manager)| (*manager, *name))
    }

    /// The manager more precisely, where the lock file's content says more than its name.
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

    /// Installs exactly what the lock file says, and fails where package.json says otherwise.
    pub(super) fn frozen(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["ci", "--include=dev", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--frozen-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--frozen-lockfile", "--non-interactive", "--production=false"],
            Manager::YarnBerry => &["install", "--immutable"],
            Manager::Bun => &["install", "--frozen-lockfile"],
        }
    }

    /// Installs what package.json says, by the lock file where it still fits, and does not write it. Only Yarn 2 and
    /// later cannot be told so: it is run where the lock file is a copy, or not at all.
    pub(super) fn loose(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["install", "--include=dev", "--no-save", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--no-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--pure-lockfile", "--non-interactive", "--production=false"],
            Manager::YarnBerry => &["install"],
            Manager::Bun => &["install", "--no-save"],
        }
    }

    /// What it is told besides: no questions, no colours, no notices, and a tree that Node finds by itself.
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

    /// Whether a failed frozen install says that lock file and package.json do not match.
    pub(super) fn says_mismatch(self, line: &str) -> bool {
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
