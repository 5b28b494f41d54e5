use std::path::PathBuf;
use std::time::Duration;

use crate::process::Environment;

/// What the dev server's supervisor is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The project's root.
    pub project_dir: PathBuf,
    /// Where package.json lies, relative to the root; none: found.
    pub app_dir: Option<PathBuf>,
    /// Where the dev server answers.
    pub placement: Placement,
    /// Who may reach it.
    pub bind: Bind,
    /// Host patterns that Vite accepts beside localhost and IP addresses (`.fly.dev` means every name below it).
    pub allowed_hosts: Vec<String>,
    /// What stood after `--`: run in place of anything found.
    pub command: Option<Vec<String>>,
    /// SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The agent's own directory: trees are installed here and renamed into the project.
    pub state_dir: PathBuf,
    /// Prepared trees: `<prepared_dir>/<key>/node_modules`, taken by rename, else copied.
    pub prepared_dir: Option<PathBuf>,
    /// All that a child sees of the environment.
    pub environment: Environment,
    /// How patient the supervisor is.
    pub limits: Limits,
}

impl Config {
    /// A dev server that is the preview port itself; everything that has a default at its default.
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

/// SIGTERM to SIGKILL by default: inside the 5 s that Fly gives the machine.
pub const GRACE: Duration = Duration::from_secs(4);

/// Where the dev server is to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the preview port: it must answer exactly there, on the addresses that [`Bind`] names.
    PreviewPort(u16),
    /// On the loopback, behind a proxy. It is given a port and followed to where it really listens.
    BehindProxy {
        /// The port that it is given; none: a free one.
        port: Option<u16>,
    },
}

/// Which addresses the dev server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// `localhost`: a developer's own machine.
    Loopback,
    /// Every address, IPv6 included where there is one: a container behind a proxy.
    All,
}

/// Patience of the supervisor. Tests shorten it; nothing else changes it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From spawn to the first HTTP answer. Generous: some frameworks compile before they answer.
    pub start_grace: Duration,
    /// Between two probes of a serving dev server.
    pub probe_interval: Duration,
    /// How long one probe waits for an answer.
    pub probe_timeout: Duration,
    /// This many probes in a row without an answer: it hangs.
    pub probes_missed: u32,
    /// At most this many restarts ...
    pub restarts: u32,
    /// ... within this window, which slides.
    pub restart_window: Duration,
    /// The delay before the first restart of a window; doubles, with jitter, up to `backoff_max`.
    pub backoff: Duration,
    /// The longest delay before a restart.
    pub backoff_max: Duration,
    /// Edits this close together are one.
    pub settle: Duration,
    /// An install that takes longer is stopped.
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
