//! Flags and environment into one checked configuration. The only place that reads the environment.

mod error;
mod log;
mod preview;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listener::Hosts;
use secrecy::SecretString;
use sync_core::wire::ProtocolVersion;
use url::Url;

pub use crate::cli::arguments::LogFormat;
pub use error::ConfigError;
pub use log::{Colours, LogConfig};
pub use preview::{Preview, PreviewPort};

use crate::cli::arguments::{LocalChanges, RunArgs};
use crate::sync::snapshot::SnapshotSource;
use crate::sync::token::{Token, service_key_in};
use supervisor::dev_server::Bind;
use supervisor::process::{ProjectUser, wipe_environment};

/// The longest session id: it stands in every log line.
const MAX_SESSION_ID: usize = 200;

/// Everything `run` needs, checked.
#[derive(Debug)]
pub struct Config {
    /// UUID, lower case.
    pub project_id: String,
    /// Logged everywhere.
    pub session_id: String,
    /// Where the first state comes from; without one it is read from the database.
    pub snapshot: Option<SnapshotSource>,
    /// Without it: hydrate and serve, no live updates.
    pub supabase: Option<Supabase>,
    /// The renewal endpoint.
    pub session_url: Option<Url>,
    /// The directory that is kept equal to the database; absolute.
    pub project_dir: PathBuf,
    /// Where package.json lies, relative to the project; found where not given.
    pub app_dir: Option<PathBuf>,
    /// The agent's own files; never inside the project.
    pub state_dir: PathBuf,
    /// Put back what the project's own code changed of the database's files.
    pub restore_local_changes: bool,
    /// Where the preview is served.
    pub preview_port: u16,
    /// How it is served.
    pub preview: Preview,
    /// The dev server's command, instead of the one found from the project.
    pub dev_server: Option<Vec<String>>,
    /// Who may reach the dev server.
    pub bind: Bind,
    /// Prepared `node_modules` by key.
    pub prepared_dir: Option<PathBuf>,
    /// Between TERM and KILL when the dev server is stopped.
    pub stop_grace: Duration,
    /// The folder whose file modes the project's files get; the database has none.
    pub modes_of: Option<PathBuf>,
    /// Who the project's code runs as, where the agent may choose; none: as the agent.
    pub preview_user: Option<ProjectUser>,
    /// Health, status and metrics.
    pub status_addr: SocketAddr,
    /// Host names that requests to the status server may carry, besides addresses and `localhost`.
    pub status_hosts: Hosts,
    /// Opens `/status` and `/logs` to others than loopback.
    pub status_token: Option<SecretString>,
    /// Certificates to trust besides the usual roots, PEM.
    pub extra_ca_file: Option<PathBuf>,
    /// The machine's id, for the logs.
    pub container_id: Option<String>,
    /// The environment that children are built from; it holds no secret of the agent's.
    pub environment: BTreeMap<String, String>,
}

/// The database and its channel.
#[derive(Debug)]
pub struct Supabase {
    /// Base of `/realtime/v1`, `/rest/v1`, `/storage/v1`.
    pub url: Url,
    /// The `apikey`.
    pub anon_key: SecretString,
    /// The session's token.
    pub token: Token,
    /// The Realtime serializer.
    pub protocol: ProtocolVersion,
    /// Take rows of `project_files` as nudges too.
    pub postgres_changes: bool,
    /// Say on the status topic what the agent does.
    pub publish_status: bool,
}

/// The process environment, with empty values counted as unset (as container platforms pass them).
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// The settings that have no flag, since a command line can be read by anyone.
const SECRETS: [&str; 5] =
    ["SNAPSHOT_URL", "REALTIME_TOKEN", "SUPABASE_ANON_KEY", "STATUS_TOKEN", preview::ACCESS_TOKEN];

/// [`environment`], with the secrets wiped from where the system shows them. To be called while there is one thread.
pub fn take_environment() -> BTreeMap<String, String> {
    let environment = environment();
    wipe_environment(|name| SECRETS.contains(&name));
    environment
}

impl Config {
    /// Checks what was given. `environment` holds the settings that have no flag, and is what children are built from.
    pub fn resolve(args: RunArgs, mut environment: BTreeMap<String, String>) -> Result<Config, ConfigError> {
        if let Some(variable) = service_key_in(environment.clone().into_iter()) {
            return Err(ConfigError::ServiceKey { variable });
        }
        let project_id = args.project_id.ok_or(ConfigError::Missing { setting: "PROJECT_ID (--project-id)" })?;
        let project_id = uuid::Uuid::parse_str(&project_id)
            .map_err(|_| invalid("PROJECT_ID", format!("{project_id:?} is not a UUID")))?
            .to_string();
        let session_id = args.session_id.ok_or(ConfigError::Missing { setting: "SESSION_ID (--session-id)" })?;
        if session_id.len() > MAX_SESSION_ID || session_id.chars().any(char::is_control) {
            return Err(invalid("SESSION_ID", format!("must be at most {MAX_SESSION_ID} printable characters")));
        }

        let snapshot = match (args.snapshot, environment.remove("SNAPSHOT_URL")) {
            (Some(file), _) => Some(SnapshotSource::File(absolute("--snapshot", file)?)),
            (None, Some(url)) => {
                http_url("SNAPSHOT_URL", &url, InErrors::LeftOut)?;
                Some(SnapshotSource::Url(url.into()))
            }
            (None, None) => None,
        };
        let supabase_url =
            args.supabase_url.map(|url| http_url("SUPABASE_URL", &url, InErrors::Printed)).transpose()?;
        let token = environment
            .remove("REALTIME_TOKEN")
            .map(|text| Token::parse(&text, &project_id).map_err(|error| invalid("REALTIME_TOKEN", error.to_string())))
            .transpose()?;
        let anon_key = environment.remove("SUPABASE_ANON_KEY");
        let supabase = match (supabase_url, token) {
            (Some(url), Some(token)) => Some(Supabase {
                url,
                token,
                anon_key: anon_key.ok_or(ConfigError::Missing { setting: "SUPABASE_ANON_KEY" })?.into(),
                protocol: args.realtime_protocol.into(),
                postgres_changes: args.postgres_changes,
                publish_status: args.publish_status,
            }),
            _ => None,
        };
        if snapshot.is_none() && supabase.is_none() {
            return Err(ConfigError::NothingToHydrateFrom);
        }

        let project_dir = absolute("PROJECT_DIR", args.project_dir)?;
        let state_dir = match args.state_dir {
            Some(dir) => absolute("STATE_DIR", dir)?,
            None => default_state_dir(&project_dir),
        };
        if state_dir.starts_with(&project_dir) {
            return Err(invalid("STATE_DIR", format!("{} lies inside the project", state_dir.display())));
        }
        if args.app_dir.as_deref().is_some_and(|dir| !stays_inside(dir)) {
            return Err(invalid("APP_DIR", "must be a path inside the project, without `..`".into()));
        }
        if args.preview_port == 0 {
            return Err(invalid("PREVIEW_PORT", "must be between 1 and 65535".into()));
        }
        Ok(Config {
            project_id,
            session_id,
            snapshot,
            supabase,
            session_url: args.session_url.map(|url| http_url("SESSION_URL", &url, InErrors::Printed)).transpose()?,
            project_dir,
            app_dir: args.app_dir,
            state_dir,
            restore_local_changes: args.local_changes == LocalChanges::Restore,
            preview: Preview::resolve(args.preview, args.preview_port, environment.remove(preview::ACCESS_TOKEN))?,
            preview_port: args.preview_port,
            dev_server: (!args.dev_server.is_empty()).then_some(args.dev_server),
            bind: Bind::All,
            modes_of: None,
            prepared_dir: args.prepared_dir.map(|dir| absolute("PREPARED_DIR", dir)).transpose()?,
            stop_grace: args.stop_grace,
            preview_user: project_user(&args.preview_user)?,
            status_addr: args.status_addr,
            status_hosts: status_hosts(args.status_hosts.as_deref())?,
            status_token: environment.remove("STATUS_TOKEN").map(Into::into),
            extra_ca_file: args.extra_ca_file,
            container_id: environment.get("FLY_MACHINE_ID").cloned(),
            environment,
        })
    }
}

/// Whether an error may contain the value that it refuses.
enum InErrors {
    Printed,
    /// It may be a secret.
    LeftOut,
}

fn http_url(setting: &'static str, text: &str, value: InErrors) -> Result<Url, ConfigError> {
    let error = match value {
        InErrors::Printed => format!("{text:?} is not an http:// or https:// URL"),
        InErrors::LeftOut => "its value is not an http:// or https:// URL".to_owned(),
    };
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| invalid(setting, error))
}

fn status_hosts(text: Option<&str>) -> Result<Hosts, ConfigError> {
    let hosts = text.map_or(Ok(Hosts::loopback()), Hosts::parse);
    hosts.map_err(|error| invalid("STATUS_HOSTS", error.to_string()))
}

fn project_user(text: &str) -> Result<Option<ProjectUser>, ConfigError> {
    if text == "none" {
        return Ok(None);
    }
    let user = ProjectUser::parse(text);
    user.map(Some).map_err(|error| invalid("PREVIEW_USER", error.to_string()))
}

fn absolute(setting: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| invalid(setting, format!("{}: {error}", path.display())))
}

/// Beside the project, so that a rename from one to the other stays on one filesystem where it can.
fn default_state_dir(project_dir: &Path) -> PathBuf {
    project_dir.parent().unwrap_or(Path::new("/")).join(".preview-agent")
}

fn stays_inside(dir: &Path) -> bool {
    use std::path::Component;
    dir.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn invalid(setting: &'static str, why: String) -> ConfigError {
    ConfigError::Invalid { setting, why }
}

#[cfg(test)]
mod tests;
