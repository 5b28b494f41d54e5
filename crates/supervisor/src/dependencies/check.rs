use std::path::{Path, PathBuf};

use super::candidates::{Candidate, candidates};
use super::install::{InstallJob, Staging};
use super::key::{SETTINGS, installed_key, key};
use super::manager::Manager;
use super::workspace;
use crate::directory::{Directory, ReadError};
use crate::package_json::{DEPENDENCY_LISTS, PackageJson, PackageJsonError};

/// Inside `node_modules`: the key of what is installed there.
pub const KEY_FILE: &str = ".preview-key";
/// The largest configuration of Yarn that is read, in bytes.
const MAX_YARNRC: u64 = 1 << 20;
/// The largest lock file that is read, in bytes. Those of big monorepos have some millions.
pub const MAX_LOCK: u64 = 64 << 20;

/// Whether the dependencies are installed.
#[derive(Debug)]
pub enum Dependencies {
    /// The tree has the right key, or the project has no dependencies.
    Installed,
    /// This job has to be run before the dev server is started.
    Missing(InstallJob),
}

/// Why the dependencies could not be checked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum CheckError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Package(#[from] PackageJsonError),
    #[error("cannot open {}", .path.display())]
    Open { path: PathBuf, source: std::io::Error },
}

/// Compares the key of what the app at `app_dir`, which is relative to the project's `root`, needs with the key of what is
/// installed.
///
/// An app that a workspace above it (inside the project) includes is installed at the workspace's root.
///
/// # Errors
/// A file that cannot be read, is not a regular file, or is not JSON, and a directory that cannot be opened.
pub fn check_dependencies(root: &Directory, app_dir: &Path) -> Result<Dependencies, CheckError> {
    let Place { dir, package, kind } = find_place(root, app_dir)?;
    let Some(package) = package else { return Ok(Dependencies::Installed) };
    let ways = candidates(&package, &dir);
    let is_locked = ways.iter().any(|way| way.lock.is_some());
    if kind == PlaceKind::Package && !is_locked && !has_dependencies(&package) {
        return Ok(Dependencies::Installed);
    }
    let staging = match kind {
        PlaceKind::Workspace => Staging::InPlaceOnly,
        PlaceKind::Package => staging(&package, &dir),
    };
    let manager = ways.first().map_or(Manager::Npm, |way: &Candidate| way.manager);
    let key = key(manager, &dir, staging)?;
    if installed_key(&dir).as_deref() == Some(&*key) {
        return Ok(Dependencies::Installed);
    }
    Ok(Dependencies::Missing(InstallJob { root: dir, ways, key, staging }))
}

/// Where to install.
struct Place {
    dir: Directory,
    package: Option<PackageJson>,
    kind: PlaceKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    Package,
    /// The root of a workspace, whose packages are installed together.
    Workspace,
}

fn find_place(root: &Directory, app_dir: &Path) -> Result<Place, CheckError> {
    for above in app_dir.ancestors().skip(1) {
        // A directory above that cannot be used has no say.
        let Ok(dir) = root.open_below(above) else { continue };
        let Ok(Some(package)) = PackageJson::read(&dir) else { continue };
        let Some(patterns) = workspace::patterns(&package, &dir) else { continue };
        if app_dir.strip_prefix(above).is_ok_and(|relative| workspace::includes(&patterns, relative)) {
            return Ok(Place { dir, package: Some(package), kind: PlaceKind::Workspace });
        }
    }
    let dir =
        root.open_below(app_dir).map_err(|source| CheckError::Open { path: root.path().join(app_dir), source })?;
    let package = PackageJson::read(&dir)?;
    let is_workspace = package.as_ref().is_some_and(|package| workspace::patterns(package, &dir).is_some());
    let kind = if is_workspace { PlaceKind::Workspace } else { PlaceKind::Package };
    Ok(Place { dir, package, kind })
}

fn has_dependencies(package: &PackageJson) -> bool {
    DEPENDENCY_LISTS.iter().any(|list| package.map(list).is_some_and(|list| !list.is_empty()))
}

/// A tree can be made in a stage where nothing but package.json, lock file and the manager's configuration decides what
/// it holds: no workspaces, no dependency on a directory of the project, and no scripts of the project.
fn staging(package: &PackageJson, dir: &Directory) -> Staging {
    let scripts = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
    let local = ["file:", "link:", "portal:", "workspace:", "patch:", ".", "/", "~"];
    // These may name other files of the project.
    let other_files = SETTINGS.iter().filter(|name| !matches!(**name, ".npmrc" | ".yarnrc" | ".yarnrc.yml"));
    let possible = !yarn_uses_project(dir)
        && !package.has("workspaces")
        && !package.has("pnpm")
        && !scripts.iter().any(|name| package.script(name).is_some())
        && !package.specifiers().any(|specifier| local.iter().any(|start| specifier.starts_with(start)))
        && !other_files.into_iter().any(|name| dir.kind(name).is_some());
    if possible { Staging::Possible } else { Staging::InPlaceOnly }
}

/// Yarn's configuration may name programs of the project. One that cannot be read counts as such.
fn yarn_uses_project(dir: &Directory) -> bool {
    let Ok(yarnrc) = dir.read(".yarnrc.yml", MAX_YARNRC) else { return true };
    let yarnrc = yarnrc.unwrap_or_default();
    let yarnrc = String::from_utf8_lossy(&yarnrc);
    ["yarnPath", "plugins", "./"].iter().any(|word| yarnrc.contains(word))
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;

    fn check(root: &Path, app_dir: &str) -> Result<Dependencies, CheckError> {
        check_dependencies(&Directory::open(root).expect("opened"), Path::new(app_dir))
    }

    fn job(dir: &Path) -> Option<InstallJob> {
        match check(dir, "").expect("a readable project") {
            Dependencies::Installed => None,
            Dependencies::Missing(job) => Some(job),
        }
    }

    #[test]
    fn without_dependencies_nothing_is_installed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(job(dir.path()).is_none());
        write(dir.path().join("package.json"), r#"{"scripts": {"dev": "node x.js"}}"#).expect("written");
        assert!(job(dir.path()).is_none());
    }

    #[test]
    fn lock_file_decides_the_manager() {
        for (name, manager) in LOCKS {
            let dir = tempfile::tempdir().expect("a directory");
            write(dir.path().join("package.json"), "{}").expect("written");
            write(dir.path().join(name), "").expect("written");
            assert_eq!(job(dir.path()).expect("an install").ways[0].manager, manager);
        }
    }

    const LOCKS: [(&str, Manager); 4] = [
        ("package-lock.json", Manager::Npm),
        ("pnpm-lock.yaml", Manager::Pnpm),
        ("yarn.lock", Manager::Yarn),
        ("bun.lock", Manager::Bun),
    ];

    #[test]
    fn yarn_berry_is_recognized_by_its_lock_file() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path().join("package.json"), "{}").expect("written");
        write(dir.path().join("yarn.lock"), "# made by yarn\n\n__metadata:\n  version: 8\n").expect("written");
        assert_eq!(job(dir.path()).expect("an install").ways[0].manager, Manager::YarnBerry);
    }

    #[test]
    fn key_changes_with_each_input_and_equal_key_means_installed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        write(path.join("package.json"), r#"{"dependencies": {"a": "1"}}"#).expect("written");
        let unlocked = job(path).expect("an install").key;
        write(path.join("package-lock.json"), "").expect("written");
        let locked = job(path).expect("an install").key;
        assert_ne!(unlocked, locked);
        std::fs::create_dir(path.join("node_modules")).expect("made");
        assert!(job(path).is_some(), "a tree without a key");
        write(path.join("node_modules").join(KEY_FILE), &locked).expect("written");
        assert!(job(path).is_none());
        write(path.join("package.json"), r#"{"dependencies": {"a": "2"}}"#).expect("written");
        assert!(job(path).is_some());
    }

    #[test]
    fn workspace_is_installed_at_its_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = dir.path().join("apps/web");
        std::fs::create_dir_all(&app).expect("made");
        write(dir.path().join("package.json"), r#"{"workspaces": ["apps/*"]}"#).expect("written");
        write(dir.path().join("yarn.lock"), "").expect("written");
        write(app.join("package.json"), "{}").expect("written");
        let Ok(Dependencies::Missing(job)) = check(dir.path(), "apps/web") else { panic!("nothing to install") };
        assert_eq!(
            (job.root.path(), job.ways[0].manager, job.staging),
            (dir.path(), Manager::Yarn, Staging::InPlaceOnly)
        );
    }

    #[test]
    fn app_outside_of_the_workspace_s_patterns_is_installed_by_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = dir.path().join("examples/web");
        std::fs::create_dir_all(&app).expect("made");
        write(dir.path().join("package.json"), r#"{"workspaces": ["apps/*"]}"#).expect("written");
        write(app.join("package.json"), r#"{"dependencies": {"a": "1"}}"#).expect("written");
        let Ok(Dependencies::Missing(job)) = check(dir.path(), "examples/web") else { panic!("nothing to install") };
        assert_eq!(job.root.path(), app);
    }

    #[test]
    fn key_of_a_workspace_changes_with_each_of_its_packages() {
        let dir = tempfile::tempdir().expect("a directory");
        let (app, sibling) = (dir.path().join("apps/web"), dir.path().join("packages/ui"));
        for package in [&app, &sibling] {
            std::fs::create_dir_all(package.join("node_modules/x")).expect("made");
            write(package.join("package.json"), "{}").expect("written");
            write(package.join("node_modules/x/package.json"), "{}").expect("written");
        }
        write(dir.path().join("package.json"), "{}").expect("written");
        write(dir.path().join("pnpm-workspace.yaml"), "packages:\n  - apps/*\n  - packages/*\n").expect("written");
        let key = || match check(dir.path(), "apps/web") {
            Ok(Dependencies::Missing(job)) => job.key,
            other => panic!("{other:?}"),
        };
        let mut keys = std::collections::BTreeSet::from([key()]);
        write(sibling.join("node_modules/x/package.json"), r#"{"a": 1}"#).expect("written");
        assert!(keys.contains(&key()), "installed packages are not an input");
        for (path, text) in [
            (sibling.join("package.json"), r#"{"dependencies": {"a": "1"}}"#),
            (sibling.join(".npmrc"), "a=1"),
            (app.join("package.json"), r#"{"dependencies": {"b": "1"}}"#),
            (dir.path().join(".npmrc"), "legacy-peer-deps=true"),
            (dir.path().join("pnpm-workspace.yaml"), "packages:\n  - apps/*\n"),
        ] {
            write(&path, text).expect("written");
            assert!(keys.insert(key()), "{}", path.display());
        }
    }

    #[test]
    fn byte_order_mark_hides_no_dependency_and_broken_json_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path().join("package.json"), b"\xef\xbb\xbf{\"dependencies\": {\"a\": \"1\"}}").expect("written");
        assert!(job(dir.path()).is_some());
        write(dir.path().join("package.json"), "{\"dependencies\": {},}").expect("written");
        assert!(matches!(check(dir.path(), ""), Err(CheckError::Package(PackageJsonError::Broken { .. }))));
    }

    #[test]
    fn only_a_tree_that_needs_no_project_file_is_staged() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = Directory::open(dir.path()).expect("opened");
        let staged =
            |json: &str| staging(&PackageJson::parse(json.as_bytes()).expect("JSON"), &dir) == Staging::Possible;
        assert!(staged(r#"{"dependencies": {"a": "^1"}, "scripts": {"dev": "vite", "build": "vite build"}}"#));
        assert!(!staged(r#"{"dependencies": {"a": "file:../a"}}"#));
        assert!(!staged(r#"{"devDependencies": {"a": "workspace:*"}}"#));
        assert!(!staged(r#"{"scripts": {"postinstall": "node x.js"}}"#));
        assert!(!staged(r#"{"workspaces": []}"#));
    }

    #[test]
    fn link_in_place_of_package_json_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("package.json")).expect("linked");
        let error = check(dir.path(), "").expect_err("refused");
        assert!(
            matches!(error, CheckError::Package(PackageJsonError::Read(ReadError::NotRegular { .. }))),
            "{error:?}"
        );
    }
}
