//! Local mode: backend, agent and dev server for a folder on this machine.

mod console;
mod database;
mod env_file;
mod folder;
mod local;
mod mirror;
mod mirror_event;
mod port;
mod scratch;
mod serve;
mod settle;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

pub use database::DatabaseArgs;
pub use folder::{Folder, MAX_FILE};
pub use mirror::{Mirror, OpenError, Opened, SENDER, WriteBack};
pub use mirror_event::{EventSink, MirrorEvent};
pub use serve::{ServeArgs, serve};

use crate::cli::arguments::{LocalChanges, LogArgs, PreviewArgs, Protocol, RunArgs, Switch};
use crate::cli::config::{self, Config, LogConfig};
use crate::cli::exit::Exit;
use crate::run;
use crate::sync::token::service_key_in;
use crate::telemetry::status::SharedStatus;
use supervisor::dev_server::Bind;
use supervisor::init::Init;

use console::{Console, ConsoleOptions, FRAME_SCRIPT, Feed, FrameScript, Key, ShownPreview};
use local::{Local, LocalOptions, ProjectLifetime, open_folder, origin};
use scratch::Scratch;

/// Options of `dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// The project's folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the preview is served, on the loopback
    #[arg(long, visible_alias = "preview-port", env = "PREVIEW_PORT", value_name = "PORT", default_value_t = 3001, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// How the preview is served.
    #[command(flatten)]
    pub preview: PreviewArgs,
    /// Leave the folder alone: what is saved through the backend reaches the preview only
    #[arg(long)]
    pub no_write_back: bool,
    /// Where the backend listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Write what an editor needs to save through the backend (address, key, token) to this file while `dev` runs
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Where package.json lies inside the project [default: `.`, else `frontend`, else the only one there is]
    #[arg(long, env = "APP_DIR", value_name = "DIR")]
    pub app_dir: Option<PathBuf>,
    /// The console's port, on the loopback [default: 3100, or a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub console_port: Option<u16>,
    /// Where the agent's health, status and metrics are served; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub status_addr: SocketAddr,
    /// Realtime protocol that the agent speaks
    #[arg(long, value_name = "VERSION", default_value = "2.0.0")]
    pub realtime_protocol: Protocol,
    /// Where the project lives.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
    /// The dev server's command, instead of the one found from the project
    #[arg(last = true, value_name = "DEV_SERVER_COMMAND")]
    pub dev_server: Vec<String>,
}

/// Runs everything for one folder until a signal comes, and removes what it made.
pub async fn dev(args: DevArgs, started: Instant) -> Exit {
    match run_all(args, started).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn run_all(args: DevArgs, started: Instant) -> Result<Exit, Exit> {
    let port = args.port;
    if port::is_taken(port) {
        return Err(Exit::unavailable(format!("port {port} is in use (another `dev`?): choose another with --port")));
    }
    let database_url = args.database.url()?;
    let folder = open_folder(&args.dir)?;
    let folder_path = folder.path().to_owned();
    let origin = origin(Some(&folder), ProjectLifetime::ThisRun);
    let feed = Feed::default();
    let _flush = run::start_logs(LogConfig::resolve(&args.log), origin.clone(), started, Some(feed.tap()))
        .map_err(Exit::usage)?;
    let init = watch_signals()?;
    let local_options = LocalOptions {
        folder: Some(folder),
        database_url,
        listen: args.listen,
        write_back: if args.no_write_back { WriteBack::Off } else { WriteBack::On },
        env_file: args.env_file.clone(),
    };
    let local = Local::start(local_options, &origin).await?;
    let status = SharedStatus::new(origin, started);
    let options = ConsoleOptions {
        folder: Some(folder_path.clone()),
        preview: Some(ShownPreview {
            port,
            frame_script: match args.preview.preview_proxy {
                Switch::On => FrameScript::Added,
                Switch::Off => FrameScript::Missing,
            },
        }),
        status: Some(status.clone()),
        key: Key::of_user(&config::environment()),
    };
    let console = Console::start(args.console_port, &local, feed, options).await?;
    let exit = with_agent(&args, &folder_path, &local, init, status, started).await;
    drop(console);
    local.stop().await;
    Ok(exit)
}

async fn with_agent(
    args: &DevArgs,
    folder: &Path,
    local: &Local,
    init: Init,
    status: SharedStatus,
    started: Instant,
) -> Exit {
    let environment = config::environment();
    let scratch = match Scratch::create(folder, &environment) {
        Ok(scratch) => scratch,
        Err(error) => return Exit::disk(format!("cannot make a directory for the agent's copy: {error}")),
    };
    let exit = match Config::resolve(run_args(args, local, &scratch), agent_environment(environment, local)) {
        Err(error) => Exit::usage(error),
        Ok(mut config) => {
            config.bind = Bind::Loopback;
            config.modes_of = Some(folder.to_owned());
            config.preview.script = Some(FRAME_SCRIPT);
            let (files, port, project_dir) = (local.files(), args.port, scratch.project());
            info!(
                event_type = "dev_start",
                files,
                port,
                backend_url = local.url(),
                project_dir = %project_dir.display(),
                "starting {} ({files} files) at http://localhost:{port}/; Ctrl-C ends it",
                folder.display(),
            );
            run::run_with_status(config, init, status, started).await
        }
    };
    let project = scratch.project();
    if let Err(error) = scratch.remove() {
        warn!(event_type = "scratch_left", "cannot remove {}: {error}", project.display());
    }
    exit
}

/// From here on signals end the program in order. A closed terminal counts as one: in a container the agent goes on without
/// a terminal, but for a developer it must end.
///
/// # Errors
/// The system refuses to report signals or children.
fn watch_signals() -> Result<Init, Exit> {
    let failed = |error: io::Error| Exit::fault(format!("cannot watch for signals and children: {error}"));
    let init = Init::start().map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(error) = kill_process(getpid(), Signal::TERM) {
                warn!(%error, "the terminal was closed, but the program cannot be ended");
            }
        }
    });
    Ok(init)
}

fn run_args(args: &DevArgs, local: &Local, scratch: &Scratch) -> RunArgs {
    let session = local.session();
    RunArgs {
        project_id: Some(session.project_id.clone()),
        session_id: Some(session.session_id.clone()),
        snapshot: None,
        supabase_url: Some(session.supabase_url.clone()),
        session_url: Some(session.session_url.clone()),
        project_dir: scratch.project(),
        app_dir: args.app_dir.clone(),
        state_dir: Some(scratch.state()),
        local_changes: LocalChanges::Keep,
        preview_port: args.port,
        preview: args.preview.clone(),
        status_addr: args.status_addr,
        status_hosts: None,
        // The developer's own code, on the developer's own machine.
        preview_user: "none".to_owned(),
        prepared_dir: None,
        stop_grace: STOP_GRACE,
        extra_ca_file: None,
        realtime_protocol: args.realtime_protocol,
        postgres_changes: false,
        // Editors that are connected to this backend wait for verdicts.
        publish_status: true,
        log: args.log.clone(),
        dev_server: args.dev_server.clone(),
    }
}

/// Short, because a developer who pressed Ctrl-C waits for it.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The developer's environment without service keys, and with the session's settings.
fn agent_environment(mut environment: BTreeMap<String, String>, local: &Local) -> BTreeMap<String, String> {
    while let Some(variable) = service_key_in(environment.clone().into_iter()) {
        environment.remove(&*variable);
    }
    environment.remove("PREVIEW_DATABASE_URL");
    environment.extend(local.session().env().into_iter().map(|(name, value)| (name.to_owned(), value)));
    environment
}
