use std::path::Path;

/// The package managers that a lock file can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Manager {
    Npm,
    Pnpm,
    Yarn,
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

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Npm => "npm",
            Manager::Pnpm => "pnpm",
            Manager::Yarn => "yarn",
            Manager::Bun => "bun",
        }
    }

    /// Installs exactly what the lock file says, and fails where package.json says otherwise.
    pub(super) fn frozen(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["ci", "--include=dev", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--frozen-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--frozen-lockfile", "--non-interactive", "--production=false"],
            Manager::Bun => &["install", "--frozen-lockfile"],
        }
    }

    /// Installs what package.json says, by the lock file where it still fits; never writes the lock file.
    pub(super) fn loose(self) -> &'static [&'static str] {
        match self {
            Manager::Npm => &["install", "--include=dev", "--no-save", "--no-audit", "--no-fund", "--no-progress"],
            Manager::Pnpm => &["install", "--no-lockfile", "--prod=false"],
            Manager::Yarn => &["install", "--pure-lockfile", "--non-interactive", "--production=false"],
            Manager::Bun => &["install", "--no-save"],
        }
    }

    /// Whether a failed frozen install says that lock file and package.json do not match.
    pub(super) fn says_mismatch(self, line: &str) -> bool {
        let signs: &[&str] = match self {
            Manager::Npm => &["can only install packages when your package.json", "code EUSAGE"],
            Manager::Pnpm => &["ERR_PNPM_OUTDATED_LOCKFILE", "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH"],
            Manager::Yarn => &["needs to be updated", "YN0028"],
            Manager::Bun => &["lockfile had changes, but lockfile is frozen"],
        };
        signs.iter().any(|sign| line.contains(sign))
    }
}
