//! The preview port: what the proxy shows of the agent, and where it finds the dev server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use diagnostics::PageReport;
use preview_proxy::{Hosts, Progress, Proxy, Reason, Settings, Stage, Upstream, View};
use supervisor::dev_server::{Bind, DevServer, DevServerState, DevServerStatus, Scheme, tls};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use crate::cli::config::{Config, PreviewPort};
use crate::cli::exit::Exit;
use crate::telemetry::status::{Phase, SharedStatus};

/// How often the phase is looked at. A change of the dev server's state is shown at once.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The running proxy and what keeps its view up to date.
pub(super) struct Preview {
    _proxy: Proxy,
    view: watch::Sender<View>,
    follower: Option<JoinHandle<()>>,
    /// Reports of pages; taken once.
    reports: Option<mpsc::Receiver<PageReport>>,
    notices: broadcast::Sender<Arc<str>>,
}

/// Reports of pages that wait. While it is full, errors are counted only.
const MAX_REPORTS: usize = 64;
/// Notices that wait for a page in a frame; a page that reads too slowly misses some.
const MAX_NOTICES: usize = 64;

/// The connection between pages and what observes them.
pub(super) struct PageChannels {
    /// What pages report.
    pub(super) reports: mpsc::Receiver<PageReport>,
    /// JSON objects that pages in a frame post to their parent.
    pub(super) notices: broadcast::Sender<Arc<str>>,
}

impl Preview {
    /// Serves the preview port with the waiting page; none where the port is the dev server's own.
    ///
    /// # Errors
    /// The port is taken, or the proxy's thread cannot be started.
    pub(super) fn start(config: &mut Config, agent: &SharedStatus) -> Result<Option<Preview>, Exit> {
        if config.preview.listens == PreviewPort::DevServer {
            return Ok(None);
        }
        let port = config.preview_port;
        let failed = |error| {
            let text = "cannot serve the preview on port";
            Exit::unavailable(format!("{text} {port}: {error}; choose another with PREVIEW_PORT (--preview-port)"))
        };
        let listener = bind(config.bind, port).map_err(failed)?;
        let default_hosts = match config.bind {
            Bind::Loopback => Hosts::loopback(),
            Bind::All => Hosts::any(),
        };
        let (reports_in, reports) = mpsc::channel(MAX_REPORTS);
        let (notices, _) = broadcast::channel(MAX_NOTICES);
        let settings = Settings {
            reports: Some(reports_in),
            notices: Some(notices.clone()),
            hosts: config.preview.hosts.clone().unwrap_or(default_hosts),
            access: config.preview.access.take(),
            frame_ancestors: config.preview.frame_ancestors.clone(),
            script: config.preview.script.map(|script| script.as_bytes().into()),
            ..Settings::open()
        };
        let (view, receiver) = watch::channel(view(agent, &DevServerStatus::default()));
        let agent = agent.clone();
        let lines = Arc::new(move |count| agent.last_lines(count));
        let proxy = preview_proxy::start(listener, settings, receiver, lines).map_err(failed)?;
        let address = proxy.address();
        info!(event_type = "preview_listening", addr = %address, "the preview is served on {address}");
        Ok(Some(Preview { _proxy: proxy, view, follower: None, reports: Some(reports), notices }))
    }

    /// The connection to the pages; none after the first call.
    pub(super) fn page_channels(&mut self) -> Option<PageChannels> {
        Some(PageChannels { reports: self.reports.take()?, notices: self.notices.clone() })
    }

    /// Keeps the view up to date from now on.
    pub(super) fn follow(&mut self, agent: SharedStatus, dev_server: DevServer) {
        let sender = self.view.clone();
        let mut status = dev_server.watch();
        self.follower = Some(tokio::spawn(async move {
            loop {
                let now = status.borrow_and_update().clone();
                let new = view(&agent, &now);
                sender.send_if_modified(|view| {
                    let changed = !view.is_same(&new);
                    *view = new;
                    changed
                });
                if let Ok(Err(_)) = timeout(LOOK_EVERY, status.changed()).await {
                    // The supervisor has ended, and the dev server with it.
                    return;
                }
            }
        }));
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        self.follower.iter().for_each(JoinHandle::abort);
    }
}

/// Every address, IPv6 included where there is one; or the loopback alone.
fn bind(bind: Bind, port: u16) -> std::io::Result<TcpListener> {
    match bind {
        Bind::Loopback => TcpListener::bind((Ipv4Addr::LOCALHOST, port)),
        Bind::All => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            bound => bound,
        },
    }
}

fn view(agent: &SharedStatus, dev_server: &DevServerStatus) -> View {
    let phase = agent.phase();
    let own = dev_server.reason.map(|reason| Reason { code: reason.as_str().to_owned(), advice: reason.advice() });
    let degraded = agent.degraded().into_iter();
    let degraded = degraded.map(|reason| Reason { code: reason.as_str().to_owned(), advice: reason.advice() });
    let stage = stage(phase, dev_server);
    let upstream = dev_server.upstream.filter(|_| dev_server.state == DevServerState::Serving);
    View {
        phase: phase.as_str(),
        stage,
        reasons: own.into_iter().chain(degraded).collect(),
        detail: dev_server.detail.clone(),
        progress: progress(stage, agent, dev_server),
        upstream: upstream.map(|upstream| Upstream {
            address: upstream.address,
            tls: (upstream.scheme == Scheme::Https).then(tls::connector),
        }),
    }
}

fn progress(stage: Stage, agent: &SharedStatus, dev_server: &DevServerStatus) -> Option<Progress> {
    let since_unix_ms = dev_server.since_unix_ms;
    match stage {
        Stage::LoadingFiles => agent.hydration_progress().map(|now| Progress {
            since_unix_ms: now.since_unix_ms,
            done: Some(now.bytes),
            total: now.total,
            files: Some(now.files),
        }),
        Stage::Installing if since_unix_ms != 0 => {
            Some(Progress { since_unix_ms, done: None, total: None, files: None })
        }
        _ => None,
    }
}

fn stage(phase: Phase, dev_server: &DevServerStatus) -> Stage {
    match phase {
        Phase::Starting => Stage::Starting,
        Phase::Hydrating => Stage::LoadingFiles,
        Phase::Stopping => Stage::Stopping,
        Phase::Failed => Stage::Failed,
        Phase::Installing | Phase::Serving => match dev_server.state {
            DevServerState::Waiting | DevServerState::Installing => Stage::Installing,
            DevServerState::Starting | DevServerState::Serving if dev_server.restarts == 0 => Stage::StartingServer,
            DevServerState::Starting | DevServerState::Serving | DevServerState::Restarting => Stage::Restarting,
            DevServerState::GaveUp => Stage::Failed,
            DevServerState::Stopped => Stage::Stopping,
        },
    }
}
