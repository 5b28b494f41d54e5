use std::net::{Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::app_dir::AppDir;
use super::{Bind, Config, FaultReason, Placement};
use crate::dependencies::{ChosenBy, Manager, candidates};
use crate::directory::Directory;
use crate::package_json::{PACKAGE_JSON, PackageJson, PackageJsonError};
use crate::process::{Command, Environment};

/// How the dev server is started.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) command: Command,
    /// Differs from another plan's where the dev server has to be restarted: the command, and the script behind it.
    pub(super) identity: String,
    pub(super) kind: ServerKind,
}

/// Which changes the dev server handles by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ServerKind {
    /// Vite, started directly. It handles changes of its configuration.
    Vite,
    /// Any other command. It handles changes of source files only.
    #[default]
    Other,
}

/// Why the dev server's command could not be found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum PlanError {
    #[error("cannot open the project's directory {}", .dir.display())]
    Project { dir: PathBuf, source: std::io::Error },
    #[error("APP_DIR leaves the project: {}; give a path inside of it", .app_dir.display())]
    AppDirOutside { app_dir: PathBuf },
    #[error("package.json not found in {}", .dir.display())]
    NoPackageJson { dir: PathBuf },
    #[error("found several package.json ({dirs}); choose one with --app-dir (APP_DIR)")]
    SeveralPackages { dirs: String },
    #[error(transparent)]
    Package(#[from] PackageJsonError),
    #[error("{} has neither Vite nor a `dev` or `start` script; add one of them", .path.display())]
    NoDevScript { path: PathBuf },
    #[error("Vite is not installed: node_modules/vite not found for {}", .app_dir.display())]
    ViteMissing { app_dir: PathBuf },
    #[error("{program} is not installed")]
    ProgramMissing { program: String },
}

impl PlanError {
    pub(super) fn reason(&self) -> FaultReason {
        match self {
            PlanError::ViteMissing { .. } | PlanError::ProgramMissing { .. } => FaultReason::DependencyMissing,
            _ => FaultReason::ConfigError,
        }
    }
}

/// The configured command; else Vite's own script, where the project's `dev` script only calls Vite; else the `dev`
/// script.
pub(super) fn plan(config: &Config, port: u16, root: &Directory, app: &AppDir) -> Result<Plan, PlanError> {
    let host = host(match config.placement {
        Placement::PreviewPort(_) => config.bind,
        Placement::BehindProxy { .. } => Bind::Loopback,
    });
    let port = port.to_string();
    let mut environment = environment(config, host, &port);
    let failed = |source| PlanError::Project { dir: app.dir.path().to_owned(), source };
    let dir = Arc::new(app.dir.try_clone().map_err(failed)?);
    if let Some((program, args)) = config.command.as_ref().and_then(|command| command.split_first()) {
        // A path is looked up in the app's directory, which the system does when it is started.
        if Path::new(program).components().count() == 1 {
            find(&environment, program)?;
        }
        let command = Command::new(program, dir, environment).args(args);
        return Ok(Plan { identity: command.display(), command, kind: ServerKind::Other });
    }
    let package = PackageJson::read(&app.dir)?;
    let package = package.ok_or_else(|| PlanError::NoPackageJson { dir: app.dir.path().to_owned() })?;
    if let Some(own_args) = direct_vite(&package) {
        let program = find(&environment, "node")?;
        let vite = find_vite(root, app)?;
        let args = ["--host", host, "--port", &port, "--strictPort", "--clearScreen", "false"];
        let command = Command::new(program, dir, environment).arg(vite).args(own_args).args(args);
        return Ok(Plan { identity: command.display(), command, kind: ServerKind::Vite });
    }
    let name = script_name(&package);
    let script = name.and_then(|name| Some((name, package.script(name)?)));
    let (name, script) = script.ok_or_else(|| PlanError::NoDevScript { path: app.dir.path().join(PACKAGE_JSON) })?;
    if matches!(config.placement, Placement::BehindProxy { .. }) && starts_several(script) {
        // One port for several servers would go to any of them. Each takes its own, and the page is found.
        environment.unset("PORT");
        environment.unset("HOST");
    }
    let manager = manager(root, app, &environment);
    let program = find(&environment, manager.name())?;
    let args = script_args(manager, script, host, &port);
    let command = Command::new(program, dir, environment).args(["run", name]).args(args);
    Ok(Plan { identity: format!("{}: {script}", command.display()), command, kind: ServerKind::Other })
}

/// The script that starts the dev server: `dev`, and `start` where there is no `dev`.
pub(super) fn script_name(package: &PackageJson) -> Option<&'static str> {
    ["dev", "start"].into_iter().find(|name| package.script(name).is_some())
}

/// The arguments of Vite's dev server, where starting it directly is all that the project's script does. Scripts that run
/// before or after it are left to the package manager.
fn direct_vite(package: &PackageJson) -> Option<Vec<String>> {
    let has_hooks = ["predev", "postdev"].iter().any(|name| package.script(name).is_some());
    if has_hooks || !package.depends_on("vite") {
        return None;
    }
    package.script("dev").map_or(Some(Vec::new()), plain_vite)
}

/// The whole environment of the dev server.
fn environment(config: &Config, host: &str, port: &str) -> Environment {
    let mut environment = config.environment.clone();
    environment.set("PORT", port);
    environment.set("HOST", host);
    // The dev server opens no browser, asks no question, prints no colours and sends no statistics.
    for (name, value) in [("BROWSER", "none"), ("NO_COLOR", "1"), ("NEXT_TELEMETRY_DISABLED", "1")] {
        environment.set_default(name, value);
    }
    environment.set_default("__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", config.allowed_hosts.join(","));
    environment
}

/// `::` accepts IPv4 as well, but not every container has IPv6.
fn host(bind: Bind) -> &'static str {
    match bind {
        Bind::Loopback => "127.0.0.1",
        Bind::All if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() => "::",
        Bind::All => "0.0.0.0",
    }
}

fn find(environment: &Environment, program: &str) -> Result<PathBuf, PlanError> {
    environment.find(program).ok_or_else(|| PlanError::ProgramMissing { program: program.to_owned() })
}

/// Vite's own script. It is run without `npm run` or `npx`: those end on SIGTERM while Vite still listens.
fn find_vite(root: &Directory, app: &AppDir) -> Result<PathBuf, PlanError> {
    let found = directories_above(root, app).find(has_vite);
    let missing = || PlanError::ViteMissing { app_dir: app.dir.path().to_owned() };
    Ok(found.ok_or_else(missing)?.path().join("node_modules/vite/bin/vite.js"))
}

/// pnpm and npm's workspaces put a link in the package's place. Node follows it, as the project's user.
fn has_vite(dir: &Directory) -> bool {
    let Ok(tree) = dir.open_below("node_modules") else { return false };
    match tree.kind("vite") {
        Some(FileType::Symlink) => true,
        Some(FileType::Directory) => tree.open_below("vite/bin").is_ok_and(|bin| bin.has_file("vite.js")),
        _ => false,
    }
}

/// The manager that runs the script: the first one that is installed of those that the nearest directory asks for. npm can
/// run any script.
fn manager(root: &Directory, app: &AppDir, environment: &Environment) -> Manager {
    let asked_for = directories_above(root, app).find_map(|dir| {
        let package = PackageJson::read(&dir).ok().flatten()?;
        let ways = candidates(&package, &dir).into_iter().filter(|way| way.chosen_by != ChosenBy::Nothing);
        let managers: Vec<Manager> = ways.map(|way| way.manager).collect();
        (!managers.is_empty()).then_some(managers)
    });
    let installed = asked_for.into_iter().flatten().find(|manager| environment.find(manager.name()).is_some());
    installed.unwrap_or(Manager::Npm)
}

/// The app's directory and those above it, up to the project's root.
fn directories_above(root: &Directory, app: &AppDir) -> impl Iterator<Item = Directory> {
    app.relative.ancestors().filter_map(|relative| root.open_below(relative).ok())
}

/// The arguments of a script that only calls Vite's dev server, without those that the agent sets.
fn plain_vite(script: &str) -> Option<Vec<String>> {
    // These have a meaning for a shell.
    if script.contains(['&', '|', ';', '$', '`', '"', '\'', '\\', '<', '>', '(', ')', '*', '=']) {
        return None;
    }
    let mut words = script.split_whitespace().peekable();
    if words.next() != Some("vite") {
        return None;
    }
    words.next_if(|word| matches!(*word, "dev" | "serve"));
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--host" | "--port" | "--open" => {
                words.next_if(|value| !value.starts_with('-'));
            }
            "--strictPort" => {}
            "build" | "preview" | "optimize" => return None,
            word => kept.push(word.to_owned()),
        }
    }
    Some(kept)
}

/// Arguments that set host and port, for dev servers that do not read `PORT`. Only npm and the first Yarn take them after
/// `--`; the others would pass that on to the script.
fn script_args(manager: Manager, script: &str, host: &str, port: &str) -> Vec<String> {
    let has = |name: &str| script.split_whitespace().any(|word| word == name);
    let args: &[&str] = if has("vite") {
        &["--host", host, "--port", port, "--strictPort"]
    } else if has("astro") || has("nuxt") || has("nuxi") {
        &["--host", host, "--port", port]
    } else {
        &[]
    };
    // With several commands a shell passes the arguments to the last one.
    if args.is_empty() || starts_several(script) {
        return Vec::new();
    }
    let separator = matches!(manager, Manager::Npm | Manager::Yarn).then_some("--");
    separator.into_iter().chain(args.iter().copied()).map(str::to_owned).collect()
}

/// Whether a script runs more than one command.
fn starts_several(script: &str) -> bool {
    const RUNNERS: [&str; 8] =
        ["concurrently", "conc", "npm-run-all", "npm-run-all2", "run-p", "run-s", "turbo", "lerna"];
    script.contains(['&', '|', ';']) || script.split_whitespace().any(|word| RUNNERS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_call_of_vite_is_recognized() {
        let kept = |args: &[&str]| Some(args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(plain_vite("vite"), kept(&[]));
        assert_eq!(plain_vite("vite dev --port 3000 --mode staging --host"), kept(&["--mode", "staging"]));
        assert_eq!(plain_vite("vite --open --strictPort --base /x/"), kept(&["--base", "/x/"]));
        for other in
            ["vite build", "NODE_ENV=x vite", "vite & node api.js", "concurrently \"vite\" \"node x\"", "next dev"]
        {
            assert_eq!(plain_vite(other), None, "{other}");
        }
    }

    #[test]
    fn port_is_passed_to_scripts_that_accept_it() {
        let args = |manager, script| script_args(manager, script, "::", "3001");
        assert_eq!(args(Manager::Npm, "next dev"), [""; 0]);
        assert_eq!(args(Manager::Npm, "astro dev"), ["--", "--host", "::", "--port", "3001"]);
        assert_eq!(args(Manager::Pnpm, "astro dev"), ["--host", "::", "--port", "3001"]);
        assert_eq!(args(Manager::YarnBerry, "astro dev"), ["--host", "::", "--port", "3001"]);
        assert_eq!(args(Manager::Npm, "tsc -w & vite"), [""; 0]);
    }

    fn planned(package: &str, change: impl FnOnce(&mut Config)) -> Result<Plan, PlanError> {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("package.json"), package).expect("written");
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let path = std::env::var_os("PATH").expect("a PATH");
        let environment = Environment::pick([("PATH".into(), path)]);
        let mut config = Config::new(root.path().into(), root.path().into(), 3001, environment);
        change(&mut config);
        let root = Directory::open(root.path()).expect("opened");
        let app = AppDir { relative: PathBuf::new(), dir: root.try_clone().expect("cloned") };
        plan(&config, 3001, &root, &app)
    }

    #[test]
    fn each_missing_part_has_its_own_error() {
        let plain = |_: &mut Config| {};
        let vite = r#"{"devDependencies": {"vite": "8"}}"#;
        let broken = planned("{", plain);
        assert!(matches!(broken, Err(PlanError::Package(PackageJsonError::Broken { .. }))), "{broken:?}");
        assert!(matches!(planned("{}", plain), Err(PlanError::NoDevScript { .. })));
        assert!(matches!(planned(vite, plain), Err(PlanError::ViteMissing { .. })));
        let no_path = |config: &mut Config| config.environment = Environment::default();
        assert!(matches!(planned(vite, no_path), Err(PlanError::ProgramMissing { program }) if program == "node"));
        let unknown = |config: &mut Config| config.command = Some(vec!["no-such-program".into()]);
        assert!(matches!(planned("{}", unknown), Err(PlanError::ProgramMissing { .. })));
    }

    #[test]
    fn start_is_run_where_there_is_no_dev_and_hooks_are_left_to_the_manager() {
        let plain = |_: &mut Config| {};
        let command = |package| planned(package, plain).expect("a plan").command.display();
        assert!(command(r#"{"scripts": {"start": "node server.js"}}"#).ends_with("npm run start"));
        assert!(command(r#"{"scripts": {"start": "x", "dev": "node y.js"}}"#).ends_with("npm run dev"));
        let hooked = r#"{"scripts": {"predev": "node x.js", "dev": "vite"}, "devDependencies": {"vite": "8"}}"#;
        assert!(command(hooked).contains("npm run dev -- --host"));
    }

    #[test]
    fn configured_command_is_used_before_the_project_s_own() {
        let given = |config: &mut Config| config.command = Some(vec!["node".into(), "x.js".into()]);
        assert_eq!(planned("{", given).expect("a plan").command.display(), "node x.js");
    }
}
