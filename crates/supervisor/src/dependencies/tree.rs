use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::files::{MAX_LOCK, MAX_PACKAGE_JSON, ReadError, read_regular};
use super::install::Job;
use super::manager::Manager;

/// Inside `node_modules`: the key of what is installed there.
pub const KEY_FILE: &str = ".preview-key";
/// A key is 64 hexadecimal digits; more need not be read.
const MAX_KEY: u64 = 128;

/// What stands between the project and its dependencies.
#[derive(Debug)]
pub enum Need {
    /// The tree has the right key, or the project has no dependencies.
    Nothing,
    /// This has to be done first.
    Install(Job),
}

/// Why it cannot be told what to install.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TreeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot open {}", .path.display())]
    Open { path: PathBuf, source: io::Error },
}

/// Looks at package.json, lock file and key file of the app in `app_dir`, which lies in `project_dir`.
///
/// Without a lock file of its own, the app belongs to the nearest directory above it (inside the project) that has one
/// beside a package.json: a workspace, installed there.
pub fn look(project_dir: &Path, app_dir: &Path) -> Result<Need, TreeError> {
    let (dir, manager, lock) = place(project_dir, app_dir);
    let package = read_regular(&dir.join("package.json"), MAX_PACKAGE_JSON)?;
    let app_package =
        if dir == app_dir { None } else { read_regular(&app_dir.join("package.json"), MAX_PACKAGE_JSON)? };
    let lock_bytes = match lock {
        Some(lock) => read_regular(&dir.join(lock), MAX_LOCK)?,
        None => None,
    };
    let manager = manager.refined(lock_bytes.as_deref().unwrap_or_default());
    let value: Value = package.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    if package.is_none() || (lock_bytes.is_none() && !has_dependencies(&value)) {
        return Ok(Need::Nothing);
    }
    let key = key(manager, [package.as_deref(), app_package.as_deref(), lock_bytes.as_deref()]);
    if installed(&dir).as_deref() == Some(&*key) {
        return Ok(Need::Nothing);
    }
    let open = |path: &Path| {
        Dir::open_ambient_dir(path, ambient_authority())
            .map_err(|source| TreeError::Open { path: path.to_owned(), source })
    };
    let staged = can_be_staged(&value, &dir);
    Ok(Need::Install(Job { root: open(&dir)?, dir, manager, lock, key, staged }))
}

/// Where to install, with what, by which lock file.
fn place(project_dir: &Path, app_dir: &Path) -> (PathBuf, Manager, Option<&'static str>) {
    let above = app_dir.ancestors().take_while(|dir| dir.starts_with(project_dir));
    for dir in above {
        if let Some((manager, lock)) = Manager::of(dir)
            && dir.join("package.json").is_file()
        {
            return (dir.to_owned(), manager, Some(lock));
        }
    }
    (app_dir.to_owned(), Manager::Npm, None)
}

/// Hash of the manager's name and the files, each with its length in front, so that no two inputs run together.
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

fn installed(dir: &Path) -> Option<String> {
    let bytes = read_regular(&dir.join("node_modules").join(KEY_FILE), MAX_KEY).ok()??;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

fn has_dependencies(package: &Value) -> bool {
    let lists = ["dependencies", "devDependencies", "optionalDependencies"];
    package.get("workspaces").is_some() || lists.iter().any(|list| !entries(package, list).is_empty())
}

/// Whether the tree comes out the same when it is made in a directory that holds nothing but package.json, lock file and
/// the manager's configuration: no workspaces, no dependency on a directory of the project, no scripts of the project's own.
fn can_be_staged(package: &Value, dir: &Path) -> bool {
    let scripts = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
    let lists = ["dependencies", "devDependencies", "optionalDependencies"];
    let local = ["file:", "link:", "portal:", "workspace:", "patch:", ".", "/", "~"];
    let elsewhere = ["pnpm-workspace.yaml", ".pnpmfile.cjs", "bunfig.toml"];
    // Yarn's configuration may name programs of the project's.
    let yarnrc = read_regular(&dir.join(".yarnrc.yml"), MAX_PACKAGE_JSON).map(Option::unwrap_or_default);
    let own_yarn = yarnrc.is_ok_and(|yarnrc| {
        let yarnrc = String::from_utf8_lossy(&yarnrc);
        ["yarnPath", "plugins", "./"].iter().any(|word| yarnrc.contains(word))
    });
    let specs = lists.iter().flat_map(|list| entries(package, list)).filter_map(|(_, spec)| spec.as_str());
    !own_yarn
        && package.get("workspaces").is_none()
        && package.get("pnpm").is_none()
        && !entries(package, "scripts").iter().any(|(name, _)| scripts.contains(&name.as_str()))
        && !specs.into_iter().any(|spec| local.iter().any(|start| spec.starts_with(start)))
        && !elsewhere.iter().any(|name| dir.join(name).exists())
}

fn entries<'a>(package: &'a Value, list: &str) -> Vec<(&'a String, &'a Value)> {
    package.get(list).and_then(Value::as_object).map(|entries| entries.iter().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;

    fn job(dir: &Path) -> Option<Job> {
        match look(dir, dir).expect("a readable project") {
            Need::Nothing => None,
            Need::Install(job) => Some(job),
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
    fn the_lock_file_tells_the_manager() {
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
    fn the_newer_yarn_is_told_by_its_lock_file() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path().join("package.json"), "{}").expect("written");
        write(dir.path().join("yarn.lock"), "# made by yarn\n\n__metadata:\n  version: 8\n").expect("written");
        assert_eq!(job(dir.path()).expect("an install").manager, Manager::YarnBerry);
    }

    #[test]
    fn the_key_follows_every_input_and_a_kept_key_means_nothing_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        write(path.join("package.json"), r#"{"dependencies": {"a": "1"}}"#).expect("written");
        let unlocked = job(path).expect("an install").key;
        write(path.join("package-lock.json"), "").expect("written");
        let locked = job(path).expect("an install").key;
        assert_ne!(unlocked, locked);
        std::fs::create_dir(path.join("node_modules")).expect("made");
        assert!(job(path).is_some(), "a tree without a key says nothing");
        write(path.join("node_modules").join(KEY_FILE), &locked).expect("written");
        assert!(job(path).is_none());
        write(path.join("package.json"), r#"{"dependencies": {"a": "2"}}"#).expect("written");
        assert!(job(path).is_some());
    }

    #[test]
    fn a_workspace_is_installed_at_its_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = dir.path().join("apps/web");
        std::fs::create_dir_all(&app).expect("made");
        write(dir.path().join("package.json"), r#"{"workspaces": ["apps/*"]}"#).expect("written");
        write(dir.path().join("yarn.lock"), "").expect("written");
        write(app.join("package.json"), "{}").expect("written");
        let Need::Install(job) = look(dir.path(), &app).expect("readable") else { panic!("nothing to install") };
        assert_eq!((job.dir.as_path(), job.manager, job.staged), (dir.path(), Manager::Yarn, false));
    }

    #[test]
    fn only_a_tree_that_needs_nothing_of_the_project_is_staged() {
        let dir = tempfile::tempdir().expect("a directory");
        let staged = |json: &str| can_be_staged(&serde_json::from_str(json).expect("JSON"), dir.path());
        assert!(staged(r#"{"dependencies": {"a": "^1"}, "scripts": {"dev": "vite", "build": "vite build"}}"#));
        assert!(!staged(r#"{"dependencies": {"a": "file:../a"}}"#));
        assert!(!staged(r#"{"devDependencies": {"a": "workspace:*"}}"#));
        assert!(!staged(r#"{"scripts": {"postinstall": "node x.js"}}"#));
        assert!(!staged(r#"{"workspaces": []}"#));
    }

    #[test]
    fn a_link_in_place_of_package_json_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("package.json")).expect("linked");
        let error = look(dir.path(), dir.path()).expect_err("refused");
        assert!(matches!(error, TreeError::Read(ReadError::NotRegular { .. })), "{error:?}");
    }
}
