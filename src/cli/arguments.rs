//! The flags of each subcommand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sync_core::wire::ProtocolVersion;

/// Health, status and metrics of `run`, on every address of the machine.
const DEFAULT_STATUS_ADDR: &str = "[::]:9464";

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The project's UUID
    #[arg(long, env = "PROJECT_ID", value_name = "UUID")]
    pub project_id: Option<String>,
    /// The session's id, named in every log line
    #[arg(long, env = "SESSION_ID", value_name = "ID")]
    pub session_id: Option<String>,
    /// A local snapshot, instead of the one at SNAPSHOT_URL
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Base URL of the Supabase project; without it or REALTIME_TOKEN there are no live updates
    #[arg(long, env = "SUPABASE_URL", value_name = "URL")]
    pub supabase_url: Option<String>,
    /// Where tokens and snapshot URLs are renewed
    #[arg(long, env = "SESSION_URL", value_name = "URL")]
    pub session_url: Option<String>,
    /// The directory to keep equal to the database
    #[arg(long, env = "PROJECT_DIR", value_name = "DIR", default_value = "/app/project")]
    pub project_dir: PathBuf,
    /// Where package.json lies inside the project [default: `.`, else `frontend`, else the only one there is]
    #[arg(long, env = "APP_DIR", value_name = "DIR")]
    pub app_dir: Option<PathBuf>,
    /// The agent's own files, never inside the project [default: .preview-agent beside the project]
    #[arg(long, env = "STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What becomes of a database file that the project's own code changed or removed
    #[arg(long, env = "LOCAL_CHANGES", value_name = "WHAT", default_value = "keep")]
    pub local_changes: LocalChanges,
    /// Where the preview is served
    #[arg(long, env = "PREVIEW_PORT", value_name = "PORT", default_value_t = 3001)]
    pub preview_port: u16,
    /// How the preview is served.
    #[command(flatten)]
    pub preview: PreviewArgs,
    /// Where health, status and metrics are served
    #[arg(long, env = "STATUS_ADDR", value_name = "ADDR", default_value = DEFAULT_STATUS_ADDR)]
    pub status_addr: SocketAddr,
    /// Host names that may be used to reach STATUS_ADDR, comma separated, a leading dot for a domain; addresses and `localhost` always may
    #[arg(long, env = "STATUS_HOSTS", value_name = "NAMES")]
    pub status_hosts: Option<String>,
    /// Who the project's code runs as where the agent is root: a name, UID or UID:GID; `none` for the agent itself
    #[arg(long, env = "PREVIEW_USER", value_name = "USER", default_value = "1000")]
    pub preview_user: String,
    /// `node_modules` prepared by key, taken instead of installing: DIR/KEY/node_modules
    #[arg(long, env = "PREPARED_DIR", value_name = "DIR")]
    pub prepared_dir: Option<PathBuf>,
    /// How long the dev server may take to stop before it is killed
    #[arg(long, env = "STOP_GRACE", value_name = "SECONDS", default_value = "4", value_parser = seconds)]
    pub stop_grace: Duration,
    /// Certificates to trust besides the usual roots, as PEM
    #[arg(long, env = "EXTRA_CA_FILE", value_name = "FILE")]
    pub extra_ca_file: Option<PathBuf>,
    /// Realtime protocol to speak
    #[arg(long, env = "REALTIME_PROTOCOL", value_name = "VERSION", default_value = "2.0.0")]
    pub realtime_protocol: Protocol,
    /// Also take rows of project_files as reasons to look (for databases that send no broadcasts)
    #[arg(long, env = "POSTGRES_CHANGES", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub postgres_changes: bool,
    /// Publish preview:status and preview:applied on the project's status topic
    #[arg(long, env = "PUBLISH_STATUS", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub publish_status: bool,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
    /// The dev server's command, instead of the one found from the project
    #[arg(last = true, value_name = "DEV_SERVER_COMMAND")]
    pub dev_server: Vec<String>,
}

/// Options of every subcommand that serves a preview.
#[derive(Debug, Clone, Args)]
pub struct PreviewArgs {
    /// Answer on the preview port before the dev server does, and pass requests on to it; `off` gives it the port itself
    #[arg(long, env = "PREVIEW_PROXY", value_name = "SWITCH", default_value = "on")]
    pub preview_proxy: Switch,
    /// Host names that requests may carry: comma separated, a leading dot for a domain, `*` for all [default: `*`; of `dev`: the loopback's names]
    #[arg(long, env = "PREVIEW_HOSTS", value_name = "NAMES")]
    pub preview_hosts: Option<String>,
    /// The dev server's own port, behind the proxy [default: a free one]
    #[arg(long, env = "DEV_SERVER_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub dev_server_port: Option<u16>,
    /// Sites that may show the preview in a frame, as CSP's frame-ancestors takes them [default: every site]
    #[arg(long, env = "PREVIEW_FRAME_ANCESTORS", value_name = "SOURCES")]
    pub preview_frame_ancestors: Option<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Switch {
    On,
    Off,
}

/// Options of every subcommand that logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// `json` for machines, `pretty` for people [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log, in tracing's filter syntax
    #[arg(long, env = "LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    pub log_level: String,
}

/// Options of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// The agent's address for health, status and metrics; without an address of its own, the loopback is asked
    #[arg(long, env = "STATUS_ADDR", value_name = "ADDR", default_value = DEFAULT_STATUS_ADDR)]
    pub status_addr: SocketAddr,
}

/// Options of `snapshot`.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// The project's folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The zip to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The project's UUID, for the manifest
    #[arg(long, env = "PROJECT_ID", value_name = "UUID", default_value = "00000000-0000-0000-0000-000000000000")]
    pub project_id: uuid::Uuid,
    /// The revision that this state is, for the manifest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub revision: u64,
    /// Seconds since 1970 that the manifest gives as its time; 1980-01-01 where not given
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    pub source_date_epoch: Option<u64>,
}

/// What becomes of local changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LocalChanges {
    /// They stay until the database changes the file.
    Keep,
    /// The file is put back.
    Restore,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One calm line for people.
    Pretty,
}

/// The serializers that Realtime knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// JSON objects
    #[value(name = "1.0.0")]
    V1,
    /// JSON arrays and binary frames
    #[value(name = "2.0.0")]
    V2,
}

impl From<Protocol> for ProtocolVersion {
    fn from(protocol: Protocol) -> ProtocolVersion {
        match protocol {
            Protocol::V1 => ProtocolVersion::V1,
            Protocol::V2 => ProtocolVersion::V2,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds".to_owned())
}
