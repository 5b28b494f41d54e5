//! The entrypoint: arguments, configuration, run, exit status.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use preview_agent::cli::arguments::RunArgs;
use preview_agent::cli::config::{self, Config, LogConfig};
use preview_agent::cli::exit::Exit;
use preview_agent::cli::{health_command, snapshot_command};
use preview_agent::command_line::{Cli, Command};
use preview_agent::run;
use supervisor::init::Init;
use supervisor::process::{become_unreadable, raise_open_files_limit};

fn main() -> ExitCode {
    let started = Instant::now();
    become_unreadable();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return Exit::from_usage(&error).code(),
    };
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    // To be done while there is one thread: another one could be reading it.
    let environment = if matches!(command, Command::Run(_)) { config::take_environment() } else { BTreeMap::new() };
    // It starts nothing, so that a container's health check costs little.
    if let Command::Health(args) = &command {
        return health_command::run(args).code();
    }
    raise_open_files_limit();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::fault(format!("cannot start: {error}")).code(),
    };
    let exit = runtime.block_on(async {
        match command {
            Command::Run(args) => run_agent(args, environment, started).await,
            #[cfg(feature = "local")]
            Command::Dev(args) => preview_agent::dev::dev(args, started).await,
            #[cfg(feature = "local")]
            Command::Serve(args) => preview_agent::dev::serve(args, started).await,
            Command::Snapshot(args) => snapshot_command::run(&args),
            Command::Health(args) => health_command::run(&args),
        }
    });
    // A blocking task that hangs (a dead disk, say) must not keep the process.
    runtime.shutdown_background();
    exit.code()
}

async fn run_agent(args: RunArgs, environment: BTreeMap<String, String>, started: Instant) -> Exit {
    let log = LogConfig::resolve(&args.log);
    let config = match Config::resolve(args, environment) {
        Ok(config) => config,
        Err(error) => return Exit::usage(error),
    };
    let _flush = match run::start_logs(log, run::origin(&config), started, None) {
        Ok(flush) => flush,
        Err(error) => return Exit::usage(error),
    };
    match Init::start() {
        Ok(init) => run::run(config, init, started).await,
        Err(error) => Exit::fault(format!("cannot watch for signals and children: {error}")),
    }
}
