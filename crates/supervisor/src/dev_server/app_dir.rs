use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use super::delegation::delegated;
use super::plan::script_name;
use super::{Config, PlanError};
use crate::directory::Directory;
use crate::package_json::PackageJson;
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

/// Packages that are dev servers, or bring one.
const DEV_SERVERS: [&str; 12] = [
    "vite",
    "next",
    "nuxt",
    "astro",
    "@sveltejs/kit",
    "@react-router/dev",
    "@remix-run/dev",
    "@angular/cli",
    "react-scripts",
    "webpack-dev-server",
    "parcel",
    "@vue/cli-service",
];
/// The usual names of the directory of what a browser shows.
const USUAL_NAMES: [&str; 4] = ["client", "frontend", "web", "app"];
/// Scripts that start the script of another directory, followed one after the other.
const MAX_DELEGATIONS: usize = 3;

/// Finds the app's directory: the configured one, else the root, else `frontend`, else the directory of the only
/// package.json, else the only one that has a dev server or a usual name. Where its script only starts that of another
/// directory, that directory. No link is followed.
pub(super) fn find_app(config: &Config, root: &Directory) -> Result<AppDir, PlanError> {
    if let Some(given) = &config.app_dir {
        return configured(config, root, given);
    }
    let usual = [PathBuf::new(), PathBuf::from("frontend")];
    if let Some(app) = usual.into_iter().filter_map(|relative| open(root, relative)).find(has_package) {
        return Ok(match config.command {
            Some(_) => app,
            None => follow_delegation(root, app),
        });
    }
    let mut found = packages_below(root);
    match (found.len(), &config.command) {
        (1, _) => found.pop().and_then(|relative| open(root, relative)).ok_or_else(|| no_package(root.path())),
        (_, Some(_)) => open(root, PathBuf::new()).ok_or_else(|| no_package(root.path())),
        (0, None) => Err(no_package(root.path())),
        (_, None) => {
            if let Some(app) = guess(root, &found) {
                let (dir, others) = (app.relative.display(), found.len().saturating_sub(1));
                tracing::info!(
                    event_type = "app_dir_guessed",
                    app_dir = %dir,
                    "using the package.json in {dir}, the only likely one beside {others} others; --app-dir (APP_DIR) chooses another"
                );
                return Ok(app);
            }
            let dirs = found.iter().take(NAMED).map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            Err(PlanError::SeveralPackages { dirs })
        }
    }
}

/// The directory whose script the app's script starts. A workspace is installed and started from its root.
fn follow_delegation(root: &Directory, mut app: AppDir) -> AppDir {
    for _ in 0..MAX_DELEGATIONS {
        // What is wrong with the file is said when it is used.
        let Ok(Some(package)) = PackageJson::read(&app.dir) else { return app };
        let has_hooks =
            ["predev", "postdev", "prestart", "poststart"].iter().any(|name| package.script(name).is_some());
        let script = script_name(&package).filter(|_| !has_hooks && !package.has("workspaces"));
        let target = script.and_then(|name| delegated(package.script(name)?, name));
        let Some(next) = target.and_then(|target| open(root, app.relative.join(target))) else { return app };
        if !has_package(&next) {
            return app;
        }
        app = next;
    }
    app
}

/// The only directory that depends on a dev server, else the first with a usual name.
fn guess(root: &Directory, found: &[PathBuf]) -> Option<AppDir> {
    let has_dev_server = |relative: &&PathBuf| {
        let package = open(root, relative.to_path_buf()).and_then(|app| PackageJson::read(&app.dir).ok()?);
        package.is_some_and(|package| DEV_SERVERS.iter().any(|name| package.depends_on(name)))
    };
    let likely: Vec<&PathBuf> = found.iter().filter(has_dev_server).collect();
    let named = |name: &&str| likely.iter().find(|relative| relative.ends_with(name)).copied();
    let chosen = match likely[..] {
        [only] => Some(only),
        _ => USUAL_NAMES.iter().find_map(named),
    };
    open(root, chosen?.clone())
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

    /// The app of a project with these package.json.
    fn app_of(packages: &[(&str, &str)]) -> Result<PathBuf, PlanError> {
        let root = tempfile::tempdir().expect("a directory");
        for (dir, content) in packages {
            let dir = root.path().join(dir);
            std::fs::create_dir_all(&dir).expect("made");
            std::fs::write(dir.join("package.json"), content).expect("written");
        }
        let config = Config::new(root.path().into(), root.path().into(), 1, Environment::default());
        find_app(&config, &Directory::open(root.path()).expect("opened")).map(|app| app.relative)
    }

    #[test]
    fn a_script_that_starts_that_of_another_directory_is_followed() {
        let vite = r#"{"scripts": {"dev": "vite"}, "devDependencies": {"vite": "8"}}"#;
        let to_web = r#"{"scripts": {"dev": "npm run dev --prefix web"}}"#;
        assert_eq!(app_of(&[("", to_web), ("web", vite)]).expect("found"), Path::new("web"));
        let deeper = r#"{"scripts": {"dev": "cd inner && yarn dev"}}"#;
        assert_eq!(
            app_of(&[("", to_web), ("web", deeper), ("web/inner", vite)]).expect("found"),
            Path::new("web/inner")
        );
        // Endless, without a target, a workspace, or with more to do: the script itself is run.
        let to_itself = r#"{"scripts": {"dev": "npm run dev --prefix web"}}"#;
        assert!(app_of(&[("", to_web), ("web", to_itself), ("web/web", to_itself)]).is_ok());
        for root in [
            to_web.to_owned(),
            to_web.replace("}}", r#"}, "workspaces": ["web"]}"#),
            to_web.replace(r#""dev""#, r#""predev": "node x.js", "dev""#),
        ] {
            let web = if root == to_web { "other" } else { "web" };
            assert_eq!(app_of(&[("", &root), (web, vite)]).expect("found"), Path::new(""), "{root}");
        }
    }

    #[test]
    fn of_several_packages_the_one_with_a_dev_server_is_used() {
        let server = r#"{"scripts": {"dev": "node api.js"}, "dependencies": {"express": "5"}}"#;
        let client = r#"{"scripts": {"dev": "vite"}, "devDependencies": {"vite": "8"}}"#;
        assert_eq!(app_of(&[("server", server), ("shop", client)]).expect("found"), Path::new("shop"));
        assert_eq!(app_of(&[("admin", client), ("client", client)]).expect("found"), Path::new("client"));
        assert!(matches!(app_of(&[("admin", client), ("shop", client)]), Err(PlanError::SeveralPackages { .. })));
        assert!(matches!(app_of(&[("a", server), ("b", server)]), Err(PlanError::SeveralPackages { .. })));
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
