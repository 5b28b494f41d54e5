use std::net::{Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Bind, Config, Placement, Reason};
use crate::dependencies::{MAX_PACKAGE_JSON, Manager, ReadError, read_regular};
use crate::process::{Command, Environment};

/// How the dev server is started.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) command: Command,
    /// Differs from another plan's where the dev server has to be started anew: the command, and the script behind it.
    pub(super) identity: String,
    /// Vite runs directly, and sees more changes by itself than others do.
    pub(super) vite: bool,
}

/// Why it cannot be told how to start the dev server.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error("APP_DIR leaves the project: {}", .app_dir.display())]
    AppDirOutside { app_dir: PathBuf },
    #[error("there is no package.json in {}", .dir.display())]
    NoPackageJson { dir: PathBuf },
    #[error("there are several package.json ({dirs}): say which one with APP_DIR")]
    SeveralPackages { dirs: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is broken: {source}", .path.display())]
    BrokenPackageJson { path: PathBuf, source: serde_json::Error },
    #[error("{} has neither Vite nor a `dev` script", .path.display())]
    NoDevScript { path: PathBuf },
    #[error("Vite is not installed: there is no node_modules/vite for {}", .app_dir.display())]
    ViteMissing { app_dir: PathBuf },
    #[error("{program} is not installed here")]
    ProgramMissing { program: String },
}

impl PlanError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            PlanError::ViteMissing { .. } | PlanError::ProgramMissing { .. } => Reason::DependencyMissing,
            _ => Reason::ConfigError,
        }
    }
}

/// The command given after `--`; else Vite by its own script, where the project uses it plainly; else the `dev` script.
pub(super) fn plan(config: &Config, port: u16, app_dir: &Path) -> Result<Plan, PlanError> {
    let bind = match config.placement {
        Placement::PreviewPort(_) => config.bind,
        Placement::BehindProxy { .. } => Bind::Loopback,
    };
    let host = host(bind);
    let port = port.to_string();
    let environment = environment(config, host, &port);
    if let Some((program, args)) = config.command.as_ref().and_then(|command| command.split_first()) {
        let command = Command::new(program, app_dir, environment.clone()).args(args);
        let path = Path::new(program);
        let exists = if path.components().count() > 1 {
            app_dir.join(path).is_file()
        } else {
            environment.find(program).is_some()
        };
        let missing = || PlanError::ProgramMissing { program: program.clone() };
        return if exists { Ok(Plan { identity: command.display(), command, vite: false }) } else { Err(missing()) };
    }
    let path = app_dir.join("package.json");
    let bytes = read_regular(&path, MAX_PACKAGE_JSON)?.ok_or(PlanError::NoPackageJson { dir: app_dir.to_owned() })?;
    let package: Value =
        serde_json::from_slice(&bytes).map_err(|source| PlanError::BrokenPackageJson { path: path.clone(), source })?;
    let script = package.pointer("/scripts/dev").and_then(Value::as_str);
    let depends = |list| package.get(list).is_some_and(|list| list.get("vite").is_some());
    let uses_vite = depends("dependencies") || depends("devDependencies");
    let own_args = match script {
        Some(script) => plain_vite(script),
        None => Some(Vec::new()),
    };
    if let Some(own_args) = own_args.filter(|_| uses_vite) {
        let program = find(&environment, "node")?;
        let vite = find_vite(&config.project_dir, app_dir)?;
        let args = ["--host", host, "--port", &port, "--strictPort", "--clearScreen", "false"];
        let command = Command::new(program, app_dir, environment).arg(vite).args(own_args).args(args);
        return Ok(Plan { identity: command.display(), command, vite: true });
    }
    let script = script.ok_or(PlanError::NoDevScript { path })?;
    let mut environment = environment;
    if matches!(config.placement, Placement::BehindProxy { .. }) && starts_several(script) {
        // One port for several servers would go to any of them. Each takes its own, and the page is found.
        environment.unset("PORT");
        environment.unset("HOST");
    }
    let manager = manager(&config.project_dir, app_dir).name();
    let program = find(&environment, manager)?;
    let command =
        Command::new(program, app_dir, environment).args(["run", "dev"]).args(script_args(script, host, &port));
    Ok(Plan { identity: format!("{}: {script}", command.display()), command, vite: false })
}

/// All that the dev server sees.
fn environment(config: &Config, host: &str, port: &str) -> Environment {
    let mut environment = config.environment.clone();
    environment.set("PORT", port);
    environment.set("HOST", host);
    // No page is to be opened here, no question asked, nothing coloured or sent home.
    for (name, value) in [("BROWSER", "none"), ("NO_COLOR", "1"), ("NEXT_TELEMETRY_DISABLED", "1")] {
        environment.set_default(name, value);
    }
    environment.set_default("__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", config.allowed_hosts.join(","));
    environment
}

/// `::` takes IPv4 too, but not every container has IPv6.
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

/// Vite's own script: `npm run` and `npx` leave Vite behind, listening, when they are told to end.
fn find_vite(project_dir: &Path, app_dir: &Path) -> Result<PathBuf, PlanError> {
    let above = app_dir.ancestors().take_while(|dir| dir.starts_with(project_dir));
    let mut scripts = above.map(|dir| dir.join("node_modules/vite/bin/vite.js"));
    scripts.find(|script| script.is_file()).ok_or(PlanError::ViteMissing { app_dir: app_dir.to_owned() })
}

fn manager(project_dir: &Path, app_dir: &Path) -> Manager {
    let mut above = app_dir.ancestors().take_while(|dir| dir.starts_with(project_dir));
    above.find_map(Manager::of).map_or(Manager::Npm, |(manager, _)| manager)
}

/// The arguments of a script that is nothing but a call of Vite's dev server, less those that are ours to give.
fn plain_vite(script: &str) -> Option<Vec<String>> {
    // What only a shell understands.
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

/// Most dev servers follow PORT; these want to be told.
fn script_args(script: &str, host: &str, port: &str) -> Vec<String> {
    let has = |name: &str| script.split_whitespace().any(|word| word == name);
    let args: &[&str] = if has("vite") {
        &["--", "--host", host, "--port", port, "--strictPort"]
    } else if has("astro") || has("nuxt") || has("nuxi") {
        &["--", "--host", host, "--port", port]
    } else {
        &[]
    };
    // A shell would give the arguments to the last of several commands.
    if starts_several(script) { Vec::new() } else { args.iter().map(|arg| (*arg).to_owned()).collect() }
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
    fn a_plain_call_of_vite_is_told_from_others() {
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
    fn scripts_are_told_the_port_where_they_understand_it() {
        assert_eq!(script_args("next dev", "::", "3001"), [""; 0]);
        assert_eq!(script_args("astro dev", "::", "3001"), ["--", "--host", "::", "--port", "3001"]);
        assert_eq!(script_args("tsc -w & vite", "::", "3001"), [""; 0]);
    }

    fn planned(package: &str, change: impl FnOnce(&mut Config)) -> Result<Plan, PlanError> {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("package.json"), package).expect("written");
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let path = std::env::var_os("PATH").expect("a PATH");
        let environment = Environment::pick([("PATH".into(), path)]);
        let mut config = Config::new(root.path().into(), root.path().into(), 3001, environment);
        change(&mut config);
        plan(&config, 3001, root.path())
    }

    #[test]
    fn each_lack_has_its_own_error() {
        let plain = |_: &mut Config| {};
        let vite = r#"{"devDependencies": {"vite": "8"}}"#;
        assert!(matches!(planned("{", plain), Err(PlanError::BrokenPackageJson { .. })));
        assert!(matches!(planned("{}", plain), Err(PlanError::NoDevScript { .. })));
        assert!(matches!(planned(vite, plain), Err(PlanError::ViteMissing { .. })));
        let no_path = |config: &mut Config| config.environment = Environment::default();
        assert!(matches!(planned(vite, no_path), Err(PlanError::ProgramMissing { program }) if program == "node"));
        let unknown = |config: &mut Config| config.command = Some(vec!["no-such-program".into()]);
        assert!(matches!(planned("{}", unknown), Err(PlanError::ProgramMissing { .. })));
    }

    #[test]
    fn a_given_command_goes_before_what_is_found() {
        let given = |config: &mut Config| config.command = Some(vec!["node".into(), "x.js".into()]);
        assert_eq!(planned("{", given).expect("a plan").command.display(), "node x.js");
    }
}
