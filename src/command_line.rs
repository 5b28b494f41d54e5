//! The whole command line: which subcommands there are. Their flags are defined in [`cli`](crate::cli) and `dev`.

use clap::{Parser, Subcommand};

use crate::cli::arguments::{HealthArgs, RunArgs, SnapshotArgs};
#[cfg(feature = "local")]
use crate::dev::{DevArgs, ServeArgs};

const SECRETS: &str = "\
Secrets are taken from the environment only:
  SNAPSHOT_URL          signed http(s) URL of the project's snapshot (a zip)
  REALTIME_TOKEN        the session's token, a JWT
  SUPABASE_ANON_KEY     the project's public key, sent as `apikey`
  STATUS_TOKEN          opens /status and /logs to others than loopback
  PREVIEW_ACCESS_TOKEN  where set, the preview is shown only to clients that have it
A service key in the environment is refused.

Exit status: 0 fine, 64 bad settings, 69 something needed is unavailable, 70 a fault of the agent, 74 disk,
128+n ended by signal n.";

/// Keeps a preview container's project directory equal to its database, and runs the dev server in it.
///
/// Without a subcommand it does what `run` does. On a laptop, `preview-agent dev DIR` is the whole loop in one command.
#[derive(Debug, Parser)]
#[command(
    name = "preview-agent",
    version,
    args_conflicts_with_subcommands = true,
    after_long_help = SECRETS,
    after_help = "Secrets come from the environment; --help lists them."
)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one is made, once")]
pub enum Command {
    /// The container's entrypoint: hydrate the project, run its dev server, apply every change of the database
    #[command(after_long_help = SECRETS)]
    Run(RunArgs),
    /// Everything on one machine: a local backend, the agent and the dev server, for a project folder
    #[cfg(feature = "local")]
    Dev(DevArgs),
    /// The local backend alone: a stand-in for Supabase, in memory or over a PostgreSQL
    #[cfg(feature = "local")]
    Serve(ServeArgs),
    /// Write a folder's snapshot: a zip with its manifest, the same to the byte each time
    Snapshot(SnapshotArgs),
    /// Ask a running agent on this machine whether it works: exit status 0 if it does, else 69 (for a container's health check)
    Health(HealthArgs),
}
