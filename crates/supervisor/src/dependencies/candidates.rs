//! The ways to install a project, in the order in which they are tried.

use serde_json::Value;

use super::manager::{LOCK_FILES, Manager};
use super::workspace;
use crate::directory::Directory;
use crate::package_json::PackageJson;

/// One way to install: a manager, and the lock file that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The manager.
    pub manager: Manager,
    /// Its lock file; none: by package.json.
    pub lock: Option<&'static str>,
    /// What asks for this manager.
    pub chosen_by: ChosenBy,
}

/// What asks for a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// The field `packageManager` of package.json, which names a version as well.
    Field,
    /// Its lock file, or its workspace file.
    LockFile,
    /// Nothing: any manager can install by package.json.
    Nothing,
}

impl Candidate {
    /// The file that asks for it, for messages.
    pub(super) fn asked_for_by(self) -> &'static str {
        match (self.chosen_by, self.lock) {
            (ChosenBy::Field, _) => "package.json",
            (_, Some(lock)) => lock,
            (ChosenBy::LockFile, None) => "pnpm-workspace.yaml",
            (ChosenBy::Nothing, None) => "package.json",
        }
    }
}

/// The ways to install what `dir` holds, the preferred one first: by the field `packageManager`, by each lock file, then
/// by package.json alone with any manager.
pub fn candidates(package: &PackageJson, dir: &Directory) -> Vec<Candidate> {
    let exact = |name: &str, manager: Manager| match dir.read(name, super::MAX_LOCK) {
        Ok(Some(lock)) => manager.refined(&lock),
        // The install says what is wrong with it.
        _ => manager,
    };
    let locks: Vec<(&'static str, Manager)> = LOCK_FILES
        .into_iter()
        .filter(|(name, _)| dir.kind(name).is_some())
        .map(|(name, manager)| (name, if manager == Manager::Yarn { exact(name, manager) } else { manager }))
        .collect();
    let mut found = Vec::new();
    if let Some(manager) = package_manager_field(package) {
        let same_program = |(_, other): &&(&'static str, Manager)| other.name() == manager.name();
        let lock = locks.iter().find(same_program).map(|(name, _)| *name);
        found.push(Candidate { manager, lock, chosen_by: ChosenBy::Field });
    }
    found.extend(locks.iter().map(|(lock, manager)| Candidate {
        manager: *manager,
        lock: Some(*lock),
        chosen_by: ChosenBy::LockFile,
    }));
    if dir.kind("pnpm-workspace.yaml").is_some() {
        found.push(Candidate { manager: Manager::Pnpm, lock: None, chosen_by: ChosenBy::LockFile });
    }
    // npm, Yarn and Bun do not read pnpm's list of packages: they would install only those of the root.
    if !package.has("workspaces") && workspace::patterns(package, dir).is_some() {
        found.retain(|way| way.manager == Manager::Pnpm);
        return found;
    }
    found.extend([Manager::Npm, Manager::Pnpm, Manager::Yarn, Manager::Bun].map(|manager| Candidate {
        manager,
        lock: None,
        chosen_by: ChosenBy::Nothing,
    }));
    let mut ways: Vec<Candidate> = Vec::new();
    for candidate in found {
        // Only npm is asked twice: by its lock file, and without it.
        let known = |way: &&Candidate| {
            way.manager.name() == candidate.manager.name()
                && (way.lock == candidate.lock || candidate.manager != Manager::Npm)
        };
        if !ways.iter().any(|way| known(&way)) {
            ways.push(candidate);
        }
    }
    ways
}

/// The manager of the field `packageManager`, for example `pnpm@9.15.0`, else of `devEngines.packageManager`.
fn package_manager_field(package: &PackageJson) -> Option<Manager> {
    if let Some(field) = package.field("packageManager").and_then(Value::as_str) {
        let (name, version) = field.split_once('@').unwrap_or((field, ""));
        return manager_named(name, version);
    }
    let engine = package.field("devEngines")?.get("packageManager")?;
    let text = |name: &str| engine.get(name).and_then(Value::as_str);
    manager_named(text("name")?, text("version").unwrap_or_default())
}

fn manager_named(name: &str, version: &str) -> Option<Manager> {
    match name {
        "npm" => Some(Manager::Npm),
        "pnpm" => Some(Manager::Pnpm),
        "bun" => Some(Manager::Bun),
        "yarn" => {
            let digits: String = version.chars().skip_while(|char| !char.is_ascii_digit()).collect();
            let major = digits.split('.').next().and_then(|major| major.parse::<u32>().ok());
            Some(if major.is_some_and(|major| major >= 2) { Manager::YarnBerry } else { Manager::Yarn })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(package: &str, files: &[&str]) -> Vec<(Manager, Option<&'static str>)> {
        let dir = tempfile::tempdir().expect("a directory");
        for file in files {
            std::fs::write(dir.path().join(file), "").expect("written");
        }
        let package = PackageJson::parse(package.as_bytes()).expect("JSON");
        let found = candidates(&package, &Directory::open(dir.path()).expect("opened"));
        found.into_iter().map(|way| (way.manager, way.lock)).collect()
    }

    #[test]
    fn field_comes_before_lock_files_and_those_before_package_json() {
        use Manager::{Bun, Npm, Pnpm, Yarn, YarnBerry};
        assert_eq!(ways("{}", &[]), [(Npm, None), (Pnpm, None), (Yarn, None), (Bun, None)]);
        assert_eq!(
            ways("{}", &["bun.lock", "bun.lockb", "package-lock.json"]),
            [(Bun, Some("bun.lock")), (Npm, Some("package-lock.json")), (Npm, None), (Pnpm, None), (Yarn, None)]
        );
        let field = r#"{"packageManager": "yarn@4.1.0+sha224.x"}"#;
        let expected = [(YarnBerry, None), (Npm, Some("package-lock.json")), (Npm, None), (Pnpm, None), (Bun, None)];
        assert_eq!(ways(field, &["package-lock.json"]), expected);
        assert_eq!(ways("{}", &["pnpm-workspace.yaml"]), [(Pnpm, None)]);
    }
}
