use std::path::PathBuf;
use std::time::Duration;

use crate::process::Environment;

/// The settings of the supervisor. They do not change while it runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The project's root.
    pub project_dir: PathBuf,
    /// Where package.json is, relative to the root; none: it is looked for.
    pub app_dir: Option<PathBuf>,
    /// Where the dev server listens.
    pub placement: Placement,
    /// Which addresses the dev server listens on.
    pub bind: Bind,
    /// Host names that Vite accepts beside localhost and IP addresses (`.fly.dev` means every name below it).
    pub allowed_hosts: Vec<String>,
    /// The command after `--`: run instead of what the project asks for.
    pub command: Option<Vec<String>>,
    /// Time from SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The agent's own directory, closed to the project's user: trees are installed here and renamed into the project.
    pub state_dir: PathBuf,
    /// Prepared trees: `<prepared_dir>/<key>/node_modules`, moved into the project, or copied where they cannot be moved.
    pub prepared_dir: Option<PathBuf>,
    /// The whole environment of each child.
    pub environment: Environment,
    /// Time limits and counts.
    pub limits: Limits,
}

impl Config {
    /// The default settings for a project whose dev server listens on the preview port itself.
    pub fn new(project_dir: PathBuf, state_dir: PathBuf, port: u16, environment: Environment) -> Config {
        Config {
            project_dir,
            app_dir: None,
            placement: Placement::PreviewPort(port),
            bind: Bind::Loopback,
            allowed_hosts: vec![".fly.dev".into()],
            command: None,
            grace: GRACE,
            state_dir,
            prepared_dir: None,
            environment,
            limits: Limits::default(),
        }
    }
}

/// The default time from SIGTERM to SIGKILL. Fly gives a machine 5 s to end.
pub const GRACE: Duration = Duration::from_secs(4);

/// Where the dev server is to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the preview port: it must answer on exactly this port, on the addresses that [`Bind`] names.
    PreviewPort(u16),
    /// On loopback, behind a proxy. It is given a port, and the port that it really listens on is found.
    BehindProxy {
        /// The port that it is given; none: a free one.
        port: Option<u16>,
    },
}

/// Which addresses the dev server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// Loopback only: a developer's own machine, or behind a proxy on the same machine.
    Loopback,
    /// Every address, IPv6 included where the machine has it: a container that the dev server answers for.
    All,
}

/// Time limits and counts of the supervisor. Only tests change them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time from the start to the first HTTP answer. Long, because some frameworks compile before they answer.
    pub start_grace: Duration,
    /// Time between two probes of a serving dev server.
    pub probe_interval: Duration,
    /// How long one probe waits for an answer.
    pub probe_timeout: Duration,
    /// The dev server hangs after this many probes in a row without an answer.
    pub probes_missed: u32,
    /// The most restarts within [`Limits::restart_window`].
    pub restarts: u32,
    /// The sliding window that restarts are counted in.
    pub restart_window: Duration,
    /// The delay before the first restart in a window. It doubles, with jitter, up to [`Limits::backoff_max`].
    pub backoff: Duration,
    /// The longest delay before a restart.
    pub backoff_max: Duration,
    /// Edits with less time between them are handled together.
    pub settle: Duration,
    /// The longest time that an install may take.
    pub install_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            start_grace: Duration::from_secs(60),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(10),
            probes_missed: 3,
            restarts: 5,
            restart_window: Duration::from_secs(60),
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(8),
            settle: Duration::from_millis(300),
            install_deadline: Duration::from_secs(300),
        }
    }
}
