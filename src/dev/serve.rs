//! `preview-agent serve`: the local backend alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use tracing::info;

use super::console::{Console, ConsoleOptions, Feed, Key};
use super::database::DatabaseArgs;
use super::local::{Local, LocalOptions, ProjectLifetime, open_folder, origin};
use super::mirror::WriteBack;
use super::watch_signals;
use crate::cli::arguments::LogArgs;
use crate::cli::config::{self, LogConfig};
use crate::cli::exit::Exit;
use crate::run;

/// Options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// A folder to seed the project from, and to keep equal with it
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:54321")]
    pub listen: SocketAddr,
    /// Leave the folder alone: what is saved through the backend stays in the backend
    #[arg(long)]
    pub no_write_back: bool,
    /// Write what an editor needs to save through the backend (address, key, token) to this file while `serve` runs
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// The console's port, on the loopback [default: 3100, or a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub console_port: Option<u16>,
    /// Where the project lives.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Runs the backend alone until a signal comes. Its first lines are the settings of an agent, as `NAME=value`.
pub async fn serve(args: ServeArgs, started: Instant) -> Exit {
    match serve_until_signal(args, started).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn serve_until_signal(args: ServeArgs, started: Instant) -> Result<Exit, Exit> {
    let database_url = args.database.url()?;
    let folder = args.dir.as_deref().map(open_folder).transpose()?;
    let lifetime = if database_url.is_some() { ProjectLifetime::Stored } else { ProjectLifetime::ThisRun };
    let origin = origin(folder.as_ref(), lifetime);
    let feed = Feed::default();
    let _flush = run::start_logs(LogConfig::resolve(&args.log), origin.clone(), started, Some(feed.tap()))
        .map_err(Exit::usage)?;
    let mut signals = watch_signals()?.signals();
    let console_options = ConsoleOptions {
        folder: folder.as_ref().map(|folder| folder.path().to_owned()),
        preview: None,
        status: None,
        key: Key::of_user(&config::environment()),
    };
    let write_back = if args.no_write_back { WriteBack::Off } else { WriteBack::On };
    let options = LocalOptions { folder, database_url, listen: args.listen, write_back, env_file: args.env_file };
    let local = Local::start(options, &origin).await?;
    for (name, value) in local.session().env() {
        println!("{name}={value}");
    }
    println!("EDITOR_TOKEN={}", local.editor_token());
    let (url, files) = (local.url(), local.files());
    info!(event_type = "serve_start", url, files, "the local backend is at {url} ({files} files)");
    let console = Console::start(args.console_port, &local, feed, console_options).await?;
    let signal = signals.next().await;
    drop(console);
    local.stop().await;
    Ok(Exit::signal(signal.number()))
}
