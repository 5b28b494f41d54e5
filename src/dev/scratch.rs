use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sync_core::ContentHash;

/// The directories of one run: the agent's copy of the project, and its state. Removed at the end.
///
/// They lie in the user's cache, in a place of the folder's own, where the installed packages stay for the next start.
/// While another run on the same folder has that place, this one lies in the system's temporary directory and keeps
/// nothing.
#[derive(Debug)]
pub struct Scratch {
    run: PathBuf,
    /// Where packages are kept, and the lock on it.
    kept: Option<(PathBuf, File)>,
}

/// The mode of directories with the developer's files: `.env` is one of them.
const PRIVATE: u32 = 0o700;

impl Scratch {
    /// Makes the directories for a run on `folder` (absolute), with the packages of an earlier one.
    pub fn create(folder: &Path, environment: &BTreeMap<String, String>) -> io::Result<Scratch> {
        let root = private_cache(environment)?;
        let place = root.join(place_of(folder));
        fs::create_dir_all(&place)?;
        let lock = File::create(place.join("lock"))?;
        let scratch = match lock.try_lock() {
            Ok(()) => Scratch { run: place.join("run"), kept: Some((place.join("kept"), lock)) },
            Err(TryLockError::WouldBlock) => {
                Scratch { run: tempfile::Builder::new().prefix("preview-agent-").tempdir()?.keep(), kept: None }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        };
        scratch.clear()?; // of a run that was killed
        DirBuilder::new().mode(PRIVATE).create(&scratch.run)?;
        fs::create_dir(scratch.project())?;
        if let Some((kept, _)) = &scratch.kept {
            move_packages(kept, &scratch.project());
        }
        Ok(scratch)
    }

    /// The agent's copy of the project.
    pub fn project(&self) -> PathBuf {
        self.run.join("project")
    }

    /// The agent's own files.
    pub fn state(&self) -> PathBuf {
        self.run.join("state")
    }

    /// Removes the run, but for its packages.
    pub fn remove(self) -> io::Result<()> {
        self.clear()
    }

    fn clear(&self) -> io::Result<()> {
        if let Some((kept, _)) = &self.kept {
            move_packages(&self.project(), kept);
        }
        match fs::remove_dir_all(&self.run) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

const PACKAGES: &str = "node_modules";
/// How deep below the top an app may lie that has packages of its own.
const MAX_DEPTH: usize = 4;

/// Moves every tree of packages to the same place below `to`. What cannot be moved is installed again, so nothing here
/// fails a start.
fn move_packages(from: &Path, to: &Path) {
    let mut apps = Vec::new();
    find_apps(from, Path::new(""), &mut apps);
    for app in apps {
        let (old, new) = (from.join(&app).join(PACKAGES), to.join(&app).join(PACKAGES));
        let made = fs::create_dir_all(to.join(&app));
        if let Err(error) = made.and_then(|()| remove_if_there(&new)).and_then(|()| fs::rename(&old, &new)) {
            tracing::debug!(%error, "packages in {} are not kept", old.display());
        }
    }
}

/// The directories below `from` that hold packages, relative to it.
fn find_apps(from: &Path, below: &Path, apps: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(from.join(below)).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == PACKAGES {
            apps.push(below.to_owned());
        } else if below.components().count() < MAX_DEPTH {
            find_apps(from, &below.join(entry.file_name()), apps);
        }
    }
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    if dir.exists() { fs::remove_dir_all(dir) } else { Ok(()) }
}

/// A name that people recognise, and that no other folder has.
fn place_of(folder: &Path) -> String {
    let name = folder.file_name().map_or("project".into(), |name| name.to_string_lossy());
    let hash = ContentHash::of(folder.as_os_str().as_encoded_bytes()).to_string();
    format!("{name}-{}", hash.get(..12).unwrap_or(&hash))
}

/// The directory of this program in the user's cache, made where it is missing. Only the user may open it: the copies of
/// projects in it contain secrets (`.env`), whose files may be readable for others.
///
/// # Errors
/// It cannot be made, or is another user's.
pub(super) fn private_cache(environment: &BTreeMap<String, String>) -> io::Result<PathBuf> {
    let root = cache(environment).join("preview-agent");
    fs::create_dir_all(&root)?;
    let metadata = fs::symlink_metadata(&root)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is not a directory of this user", root.display())));
    }
    fs::set_permissions(&root, Permissions::from_mode(PRIVATE))?;
    Ok(root)
}

/// The directory for files that a program of the user can make again.
pub(super) fn cache(environment: &BTreeMap<String, String>) -> PathBuf {
    let under_home = |path| environment.get("HOME").map(|home| Path::new(home).join(path));
    let stated = environment.get("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    stated.or_else(|| under_home(usual)).unwrap_or_else(std::env::temp_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_user_can_open_the_copy() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let root = cache(&environment).join("preview-agent");
        // One of an older version, open to all.
        fs::create_dir_all(&root)?;
        fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        let first = Scratch::create(Path::new("/projects/shop"), &environment)?;
        let second = Scratch::create(Path::new("/projects/shop"), &environment)?;
        for run in [&first, &second] {
            let mut above = run.project().ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>().into_iter();
            let closed = above.any(|dir| fs::metadata(dir).is_ok_and(|found| found.mode() & 0o777 == 0o700));
            assert!(closed, "{}", run.project().display());
        }
        assert_eq!(fs::metadata(&root)?.mode() & 0o777, 0o700);
        second.remove()?;
        first.remove()
    }

    #[test]
    fn packages_survive_a_run_and_nothing_else_does() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let folder = Path::new("/projects/shop");
        let first = Scratch::create(folder, &environment)?;
        let second = Scratch::create(folder, &environment)?;
        assert_ne!(first.project(), second.project());
        second.remove()?;
        for app in ["", "apps/frontend"] {
            let app = first.project().join(app);
            fs::create_dir_all(app.join("node_modules/react"))?;
            fs::write(app.join("package.json"), "{}")?;
        }
        let project = first.project();
        first.remove()?;
        assert!(!project.exists());
        let third = Scratch::create(folder, &environment)?;
        assert_eq!(third.project(), project);
        for app in ["", "apps/frontend"] {
            assert!(project.join(app).join("node_modules/react").is_dir(), "{app:?}");
            assert!(!project.join(app).join("package.json").exists(), "{app:?}");
        }
        drop(third); // as a kill would
        fs::write(project.join("left.txt"), "")?;
        let fourth = Scratch::create(folder, &environment)?;
        assert!(project.join("node_modules/react").is_dir() && !project.join("left.txt").exists());
        let elsewhere = Scratch::create(Path::new("/projects/other/shop"), &environment)?;
        assert!(!elsewhere.project().join("node_modules").exists());
        elsewhere.remove()?;
        fourth.remove()
    }
}
