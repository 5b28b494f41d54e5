use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use super::{Config, PlanError};
use crate::directory::Directory;
use crate::tree_walk::{Descent, Entry, Visitor, walk};

/// How deep below the root a single package.json is looked for.
const MAX_DEPTH: usize = 4;
/// Directory entries that the search looks at.
const MAX_ENTRIES: usize = 20_000;
/// Directories that an error names.
const NAMED: usize = 5;

/// The app's directory, held open.
#[derive(Debug)]
pub(super) struct AppDir {
    /// The way from the project's root; empty where it is the root.
    pub(super) relative: PathBuf,
    pub(super) dir: Directory,
}

/// Finds the app's directory: the configured one, else the root, else `frontend`, else the directory of the only
/// package.json. No link is followed.
pub(super) fn find_app(config: &Config, root: &Directory) -> Result<AppDir, PlanError> {
    if let Some(given) = &config.app_dir {
        return configured(config, root, given);
    }
    let usual = [PathBuf::new(), PathBuf::from("frontend")];
    if let Some(app) = usual.into_iter().filter_map(|relative| open(root, relative)).find(has_package) {
        return Ok(app);
    }
    let mut found = packages_below(root);
    match (found.len(), &config.command) {
        (1, _) => found.pop().and_then(|relative| open(root, relative)).ok_or_else(|| no_package(root.path())),
        (_, Some(_)) => open(root, PathBuf::new()).ok_or_else(|| no_package(root.path())),
        (0, None) => Err(no_package(root.path())),
        (_, None) => {
            let dirs = found.iter().take(NAMED).map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            Err(PlanError::SeveralPackages { dirs })
        }
    }
}

fn configured(config: &Config, root: &Directory, given: &Path) -> Result<AppDir, PlanError> {
    if given.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(PlanError::AppDirOutside { app_dir: given.to_owned() });
    }
    // Without the parts that are `.`.
    let relative = given.components().filter(|part| *part != Component::CurDir).collect();
    let app = open(root, relative).filter(|app| config.command.is_some() || has_package(app));
    app.ok_or_else(|| no_package(&root.path().join(given)))
}

fn no_package(dir: &Path) -> PlanError {
    PlanError::NoPackageJson { dir: dir.components().collect() }
}

fn open(root: &Directory, relative: PathBuf) -> Option<AppDir> {
    let dir = root.open_below(&relative).ok()?;
    Some(AppDir { relative, dir })
}

fn has_package(app: &AppDir) -> bool {
    app.dir.has_file("package.json")
}

/// Directories below the root that hold a package.json, nearest first.
fn packages_below(root: &Directory) -> Vec<PathBuf> {
    let mut search = Search::default();
    // An error ends the search, and what was found until then counts.
    let _ = walk(root, &mut search);
    search.found.sort_by_key(|dir| dir.components().count());
    search.found
}

#[derive(Default)]
struct Search {
    found: Vec<PathBuf>,
    entries: usize,
}

impl Search {
    fn count(&mut self) -> io::Result<()> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > MAX_ENTRIES { Err(io::Error::other("too many entries")) } else { Ok(()) }
    }
}

impl Visitor for Search {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.count()?;
        if entry.name == c"package.json" && entry.kind == FileType::RegularFile {
            self.found.extend(entry.path.parent().map(Path::to_owned));
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        self.count()?;
        let hidden = entry.name.to_bytes().starts_with(b".") || entry.name == c"node_modules";
        Ok(if hidden || entry.depth >= MAX_DEPTH { Descent::Skip } else { Descent::Enter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Environment;

    fn found(packages: &[&str], app_dir: Option<&str>) -> Result<PathBuf, PlanError> {
        let root = tempfile::tempdir().expect("a directory");
        for package in packages {
            let dir = root.path().join(package);
            std::fs::create_dir_all(&dir).expect("made");
            std::fs::write(dir.join("package.json"), "{}").expect("written");
        }
        let mut config = Config::new(root.path().into(), root.path().into(), 1, Environment::default());
        config.app_dir = app_dir.map(PathBuf::from);
        find_app(&config, &Directory::open(root.path()).expect("opened")).map(|app| app.relative)
    }

    #[test]
    fn order_is_root_then_frontend_then_the_only_package() {
        assert_eq!(found(&["", "frontend"], None).expect("found"), Path::new(""));
        assert_eq!(found(&["frontend", "backend"], None).expect("found"), Path::new("frontend"));
        assert_eq!(found(&["apps/web"], None).expect("found"), Path::new("apps/web"));
        assert_eq!(found(&["node_modules/x", "web"], None).expect("found"), Path::new("web"));
        assert!(matches!(found(&["a", "b"], None), Err(PlanError::SeveralPackages { dirs }) if dirs.contains("a")));
        assert!(matches!(found(&[], None), Err(PlanError::NoPackageJson { .. })));
    }

    #[test]
    fn configured_directory_is_used_or_refused() {
        assert_eq!(found(&["", "b"], Some("./b")).expect("found"), Path::new("b"));
        assert!(matches!(found(&[""], Some("b")), Err(PlanError::NoPackageJson { .. })));
        for outside in ["../x", "/etc", "b/../../x"] {
            assert!(matches!(found(&[""], Some(outside)), Err(PlanError::AppDirOutside { .. })), "{outside}");
        }
    }

    #[test]
    fn link_is_not_an_app_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::write(outside.path().join("package.json"), "{}").expect("written");
        std::os::unix::fs::symlink(outside.path(), root.path().join("frontend")).expect("linked");
        let mut config = Config::new(root.path().into(), root.path().into(), 1, Environment::default());
        for app_dir in [None, Some(PathBuf::from("frontend"))] {
            config.app_dir = app_dir;
            let error = find_app(&config, &Directory::open(root.path()).expect("opened")).expect_err("refused");
            assert!(matches!(error, PlanError::NoPackageJson { .. }), "{error:?}");
        }
    }
}
