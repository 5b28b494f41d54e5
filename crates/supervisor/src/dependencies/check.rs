use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::install::{InstallJob, Staging, TREE};
use super::manager::Manager;
use crate::directory::{Directory, ReadError};
use crate::package_json::{DEPENDENCY_LISTS, MAX_PACKAGE_JSON, PACKAGE_JSON, PackageJson};

/// Inside `node_modules`: the key of what is installed there.
pub const KEY_FILE: &str = ".preview-key";
/// The largest configuration of Yarn that is read, in bytes.
const MAX_YARNRC: u64 = 1 << 20;
/// The largest lock file that is read, in bytes. Those of big monorepos have some millions.
pub const MAX_LOCK: u64 = 64 << 20;
/// The largest key file that is read, in bytes. A key has 64 hexadecimal digits.
const MAX_KEY: u64 = 128;

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
    #[error("cannot open {}", .path.display())]
    Open { path: PathBuf, source: std::io::Error },
}

/// Reads package.json, lock file and key file of the app at `app_dir`, which is relative to the project's `root`.
///
/// Without a lock file of its own, the app belongs to the nearest directory above it (inside the project) that has one
/// beside a package.json: a workspace, which is installed there.
///
/// # Errors
/// A file that cannot be read or is not a regular file, and a directory that cannot be opened.
pub fn check_dependencies(root: &Directory, app_dir: &Path) -> Result<Dependencies, CheckError> {
    let place = find_place(root, app_dir)?;
    let dir = place.dir;
    let package = dir.read(PACKAGE_JSON, MAX_PACKAGE_JSON)?;
    let app_package = match place.relative == app_dir {
        true => None,
        false => open(root, app_dir)?.read(PACKAGE_JSON, MAX_PACKAGE_JSON)?,
    };
    let lock_bytes = match place.lock {
        Some(lock) => dir.read(lock, MAX_LOCK)?,
        None => None,
    };
    let manager = place.manager.refined(lock_bytes.as_deref().unwrap_or_default());
    // The package manager says what is wrong with one that is broken.
    let content = package.as_deref().and_then(|bytes| PackageJson::parse(bytes).ok()).unwrap_or_default();
    if package.is_none() || (lock_bytes.is_none() && !has_dependencies(&content)) {
        return Ok(Dependencies::Installed);
    }
    let key = key(manager, [package.as_deref(), app_package.as_deref(), lock_bytes.as_deref()]);
    if installed_key(&dir).as_deref() == Some(&*key) {
        return Ok(Dependencies::Installed);
    }
    let staging = staging(&content, &dir);
    Ok(Dependencies::Missing(InstallJob { root: dir, manager, lock: place.lock, key, staging }))
}

/// Where to install, with which manager, by which lock file.
struct Place<'a> {
    dir: Directory,
    relative: &'a Path,
    manager: Manager,
    lock: Option<&'static str>,
}

fn find_place<'a>(root: &Directory, app_dir: &'a Path) -> Result<Place<'a>, CheckError> {
    for relative in app_dir.ancestors() {
        if let Ok(dir) = root.open_below(relative)
            && let Some((manager, lock)) = Manager::of(&dir)
            && dir.has_file("package.json")
        {
            return Ok(Place { dir, relative, manager, lock: Some(lock) });
        }
    }
    Ok(Place { dir: open(root, app_dir)?, relative: app_dir, manager: Manager::Npm, lock: None })
}

fn open(root: &Directory, relative: &Path) -> Result<Directory, CheckError> {
    root.open_below(relative).map_err(|source| CheckError::Open { path: root.path().join(relative), source })
}

/// Hash of the manager's name and the files. Each file comes after its length, so that no two inputs give the same key.
fn key(manager: Manager, files: [Option<&[u8]>; 3]) -> String {
    let mut hash = Sha256::new();
    hash.update(manager.name());
    for file in files {
        // An absent file differs from an empty one.
        hash.update(file.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
        hash.update(file.unwrap_or_default());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn installed_key(dir: &Directory) -> Option<String> {
    let bytes = dir.open_below(TREE).ok()?.read(KEY_FILE, MAX_KEY).ok()??;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

fn has_dependencies(package: &PackageJson) -> bool {
    let has_entries = |list: &&str| package.map(list).is_some_and(|list| !list.is_empty());
    package.has("workspaces") || DEPENDENCY_LISTS.iter().any(has_entries)
}

/// A tree can be made in a stage where nothing but package.json, lock file and the manager's configuration decides what
/// it holds: no workspaces, no dependency on a directory of the project, and no scripts of the project.
fn staging(package: &PackageJson, dir: &Directory) -> Staging {
    let scripts = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
    let local = ["file:", "link:", "portal:", "workspace:", "patch:", ".", "/", "~"];
    let other_files = ["pnpm-workspace.yaml", ".pnpmfile.cjs", "bunfig.toml"];
    let specs = DEPENDENCY_LISTS.iter().filter_map(|list| package.map(list)).flat_map(|list| list.values());
    let specs = specs.filter_map(|spec| spec.as_str());
    let possible = !yarn_uses_project(dir)
        && !package.has("workspaces")
        && !package.has("pnpm")
        && !scripts.iter().any(|name| package.script(name).is_some())
        && !specs.into_iter().any(|spec| local.iter().any(|start| spec.starts_with(start)))
        && !other_files.iter().any(|name| dir.kind(name).is_some());
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
            assert_eq!(job(dir.path()).expect("an install").manager, manager);
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
        assert_eq!(job(dir.path()).expect("an install").manager, Manager::YarnBerry);
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
        assert_eq!((job.root.path(), job.manager, job.staging), (dir.path(), Manager::Yarn, Staging::InPlaceOnly));
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
        assert!(matches!(error, CheckError::Read(ReadError::NotRegular { .. })), "{error:?}");
    }
}
