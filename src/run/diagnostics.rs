//! Finds out what went wrong in the preview, on a task that the run loop never waits for.

mod asks;
mod awaited;
mod client;
mod hot_channel;
mod observer;
mod outlet;
mod page_reports;
mod process_findings;
mod project_files;
mod redactor;
mod session;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use supervisor::dev_server::{DevServer, RootAnswer, Scheme, Upstream};
use sync_core::wire::StatusEvent;
use sync_core::{ProjectPath, Revision};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::preview::PageChannels;
use crate::telemetry::status::SharedStatus;

pub(super) use redactor::Redactor;

use observer::{Inputs, Observer};
use outlet::Outlet;
use project_files::ProjectFiles;

/// Events for the status topic that wait for the run loop. More are dropped: `/problems` has the state.
const MAX_PUBLICATIONS: usize = 256;

/// What the diagnostics of a run need.
pub(super) struct DiagnosticsConfig {
    /// The agent's start: the monotonic clock of the run begins there.
    pub(super) started: Instant,
    /// The project's directory, absolute.
    pub(super) project_dir: PathBuf,
    /// Where package.json lies, where the operator said so.
    pub(super) app_dir: Option<PathBuf>,
    /// The port where the dev server answers if its status names no address.
    pub(super) preview_port: u16,
    /// Secrets that are blacked out.
    pub(super) redactor: Redactor,
    /// Where problems and verdicts are shown.
    pub(super) status: SharedStatus,
    /// The connection to the pages, where the preview is served by the proxy.
    pub(super) pages: Option<PageChannels>,
}

/// An event for the status topic.
#[derive(Debug)]
pub(super) struct Publication {
    /// Which event.
    pub(super) event: StatusEvent,
    /// Its payload, without `session_id`.
    pub(super) payload: Value,
}

/// A handle to the task that observes the preview.
#[derive(Debug)]
pub(super) struct Diagnostics {
    shared: Arc<Shared>,
    publications: mpsc::Receiver<Publication>,
    revision: Option<Revision>,
    task: JoinHandle<()>,
}

/// What the run loop has done since the task last looked.
#[derive(Debug, Default)]
struct Shared {
    done: Mutex<Done>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Done {
    changed: BTreeSet<ProjectPath>,
    applied: Option<Revision>,
}

impl Diagnostics {
    /// Starts to observe.
    pub(super) fn start(config: DiagnosticsConfig, dev_server: DevServer) -> Diagnostics {
        let shared = Arc::new(Shared::default());
        let (sender, publications) = mpsc::channel(MAX_PUBLICATIONS);
        let files = Arc::new(ProjectFiles::new(config.project_dir, config.app_dir.as_deref()));
        let at_port = Upstream {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, config.preview_port)),
            scheme: Scheme::Http,
            answer: RootAnswer::Page,
        };
        let (client, current_client) = watch::channel(None);
        let (reports, notices) = match config.pages {
            Some(PageChannels { reports, notices }) => {
                (page_reports::resolve(reports, current_client, files.clone()), Some(notices))
            }
            None => (mpsc::channel(1).1, None),
        };
        let outlet = Outlet::new(config.status, sender, notices);
        let inputs = Inputs { shared: shared.clone(), dev_server, reports };
        let observer = Observer::new(config.started, inputs, at_port, client, files, config.redactor, outlet);
        Diagnostics { shared, publications, revision: None, task: tokio::spawn(observer.run()) }
    }

    /// These files were written or removed.
    pub(super) fn changed(&self, paths: &[ProjectPath]) {
        if !paths.is_empty() {
            self.note(|done| done.changed.extend(paths.iter().cloned()));
        }
    }

    /// Everything up to this revision is on disk. Cheap where it is the same as before.
    pub(super) fn applied(&mut self, revision: Revision) {
        if self.revision != Some(revision) {
            self.revision = Some(revision);
            self.note(|done| done.applied = Some(revision));
        }
    }

    /// The next event for the status topic. Cancel safe.
    pub(super) async fn publication(&mut self) -> Publication {
        match self.publications.recv().await {
            Some(publication) => publication,
            None => std::future::pending().await,
        }
    }

    fn note(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.shared.done.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_one();
    }
}

impl Drop for Diagnostics {
    fn drop(&mut self) {
        self.task.abort();
    }
}
