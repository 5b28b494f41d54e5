use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio_rustls::TlsConnector;

/// What the agent is doing, as the proxy shows it.
#[derive(Debug, Clone)]
pub struct View {
    /// The agent's phase, as `/readyz` has it.
    pub phase: &'static str,
    /// What keeps the preview from answering.
    pub stage: Stage,
    /// Why, where something failed or is degraded.
    pub reasons: Vec<Reason>,
    /// The first reason in words, with names from the project.
    pub detail: Option<String>,
    /// How far the current stage is.
    pub progress: Option<Progress>,
    /// Where the dev server answers; none while it does not.
    pub upstream: Option<Upstream>,
}

impl View {
    /// Whether a page shows the same of both, and requests go to the same place.
    pub fn is_same(&self, other: &View) -> bool {
        let same_upstream = match (&self.upstream, &other.upstream) {
            (Some(own), Some(other)) => own.is_same(other),
            (None, None) => true,
            _ => false,
        };
        same_upstream
            && (self.phase, self.stage) == (other.phase, other.stage)
            && (&self.reasons, &self.detail, &self.progress) == (&other.reasons, &other.detail, &other.progress)
    }
}

/// What keeps the preview from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The agent has just started.
    Starting,
    /// The project's files are on their way.
    LoadingFiles,
    /// The package manager runs.
    Installing,
    /// The dev server was started and does not answer yet.
    StartingServer,
    /// The dev server ended and is started again in a moment.
    Restarting,
    /// Nothing happens before a file changes.
    Failed,
    /// The agent ends.
    Stopping,
}

impl Stage {
    /// The heading of the waiting page.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Stage::Starting => "Starting the preview",
            Stage::LoadingFiles => "Loading the project's files",
            Stage::Installing => "Installing packages",
            Stage::StartingServer => "Starting the dev server",
            Stage::Restarting => "Restarting the dev server",
            Stage::Failed => "The preview cannot start",
            Stage::Stopping => "The preview is shutting down",
        }
    }
}

/// A reason code with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The code, as `docs/operations.md` lists it.
    pub code: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: &'static str,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Since when it runs, Unix milliseconds.
    pub since_unix_ms: u64,
    /// Done so far, in the unit of `total`.
    pub done: Option<u64>,
    /// What `done` comes to in the end.
    pub total: Option<u64>,
    /// Files that are there already.
    pub files: Option<u64>,
}

/// Where the dev server answers.
#[derive(Clone)]
pub struct Upstream {
    /// Where to connect to.
    pub address: SocketAddr,
    /// How to speak TLS there; none for plain HTTP.
    pub tls: Option<TlsConnector>,
}

impl Upstream {
    pub(crate) fn is_same(&self, other: &Upstream) -> bool {
        self.address == other.address && self.tls.is_some() == other.tls.is_some()
    }

    /// The origin that the dev server takes itself to have.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("address", &self.address).field("tls", &self.tls.is_some()).finish()
    }
}

/// Gives the last lines of output, oldest first, at most as many as asked for.
pub type Lines = Arc<dyn Fn(usize) -> Vec<String> + Send + Sync>;
