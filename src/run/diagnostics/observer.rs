//! The task that takes every observation to the state machine.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use diagnostics::{Diagnostics, Finding, Input, Moment, Source};
use supervisor::clock::unix_ms;
use supervisor::dev_server::{DevServer, DevServerState, DevServerStatus, Upstream};
use sync_core::Time;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::client::DevServerClient;
use super::outlet::Outlet;
use super::process_findings::{self, LINES};
use super::project_files::ProjectFiles;
use super::redactor::Redactor;
use super::session::Session;
use super::{Done, Shared};

/// Lines of output that may describe a failure that has just happened.
const RECENT_LINES: usize = 200;
/// How old they may be.
const RECENT_MS: u64 = 3_000;

/// Where observations come from.
pub(super) struct Inputs {
    /// What the run loop has done.
    pub(super) shared: Arc<Shared>,
    pub(super) dev_server: DevServer,
    /// What pages report, with positions of sources. Closed where there are no pages.
    pub(super) reports: mpsc::Receiver<Vec<Input>>,
}

/// Observes one preview; see [`Observer::run`].
pub(super) struct Observer {
    started: Instant,
    inputs: Inputs,
    /// For what reads scripts and source maps.
    client: watch::Sender<Option<DevServerClient>>,
    status: watch::Receiver<DevServerStatus>,
    /// Where the dev server answers if its status names no address.
    at_port: Upstream,
    files: Arc<ProjectFiles>,
    redactor: Redactor,
    outlet: Outlet,
    core: Diagnostics,
    session: Option<Session>,
    /// Which process the session is about, and where it answers.
    served_by: Option<(Option<u32>, Upstream)>,
    /// Modules that had a finding when the last session ended.
    reported: BTreeSet<String>,
    /// Something was written since everything was last checked.
    unchecked: bool,
}

/// Why the task woke up.
enum Woken {
    Done,
    ServerChanged,
    Session,
    Pages(Vec<Input>),
    Timer,
    Repeat,
    Ended,
}

impl Observer {
    pub(super) fn new(
        started: Instant,
        inputs: Inputs,
        at_port: Upstream,
        client: watch::Sender<Option<DevServerClient>>,
        files: Arc<ProjectFiles>,
        redactor: Redactor,
        outlet: Outlet,
    ) -> Observer {
        let status = inputs.dev_server.watch();
        Observer {
            started,
            inputs,
            client,
            status,
            at_port,
            files,
            redactor,
            outlet,
            core: Diagnostics::default(),
            session: None,
            served_by: None,
            reported: BTreeSet::new(),
            unchecked: true,
        }
    }

    /// Runs until the supervisor ends.
    pub(super) async fn run(mut self) {
        self.server_changed();
        loop {
            self.check();
            self.outlet.show(&mut self.core);
            match self.wait().await {
                Woken::Done => self.take_done(),
                Woken::ServerChanged => self.server_changed(),
                Woken::Session => self.take_observations(),
                Woken::Pages(inputs) => inputs.into_iter().for_each(|input| self.observe(input)),
                Woken::Timer => self.core.tick(self.now()),
                Woken::Repeat => self.outlet.repeat(&self.core),
                Woken::Ended => return,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let due = self.core.deadline().map(|(at, _)| self.started + at.0);
        tokio::select! {
            () = self.inputs.shared.wake.notified() => Woken::Done,
            changed = self.status.changed() => if changed.is_ok() { Woken::ServerChanged } else { Woken::Ended },
            () = session_event(&mut self.session) => Woken::Session,
            Some(inputs) = self.inputs.reports.recv() => Woken::Pages(inputs),
            () = at(due) => Woken::Timer,
            () = at(self.outlet.deadline()) => Woken::Repeat,
        }
    }

    fn now(&self) -> Moment {
        Moment { time: Time(self.started.elapsed()), unix_ms: unix_ms() }
    }

    fn observe(&mut self, input: Input) {
        self.core.handle(self.now(), self.redactor.input(input));
    }

    /// Takes what the run loop has done.
    fn take_done(&mut self) {
        let Done { changed, applied } =
            std::mem::take(&mut *self.inputs.shared.done.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(session) = &mut self.session {
            session.open_pages(&self.core.open_pages());
            changed.iter().for_each(|path| session.changed(path.as_str()));
        }
        self.unchecked |= !changed.is_empty() || applied.is_some();
        if let Some(revision) = applied {
            self.observe(Input::Applied(revision));
        }
    }

    fn take_observations(&mut self) {
        let inputs = self.session.as_mut().map(Session::take_inputs).unwrap_or_default();
        inputs.into_iter().for_each(|input| self.observe(input));
    }

    /// Tells the state machine that everything was checked, once it was.
    fn check(&mut self) {
        let is_installing = self.status.borrow().installing;
        let is_checked = self.session.as_ref().is_some_and(Session::is_checked);
        if self.unchecked && is_checked && !is_installing {
            self.unchecked = false;
            self.observe(Input::Checked(self.core.revision()));
        }
    }

    /// The dev server or an install began, ended or failed.
    fn server_changed(&mut self) {
        let status = self.status.borrow_and_update().clone();
        let lines: Vec<_> = match status.reason {
            Some(_) => self.inputs.dev_server.logs(LINES).into_iter().map(|line| line.line).collect(),
            None => Vec::new(),
        };
        let files = self.files.clone();
        let (install, server) = process_findings::findings(&status, &lines, files.root(), |path| files.exists(path));
        // While it starts again, or installs, it is not known whether the failure has ended.
        let has_ended = status.state == DevServerState::Serving && !status.installing;
        if install.is_some() || has_ended {
            self.observe(Input::Found(Source::Install, install.into_iter().collect()));
        }
        let server = server.map(|finding| Finding { frame: process_findings::frame_of(&finding, &files), ..finding });
        if server.is_some() || has_ended {
            self.observe(Input::Found(Source::Server, server.into_iter().collect()));
        }
        self.follow(&status);
    }

    /// Begins a session with a dev server that serves, and ends it with the process.
    fn follow(&mut self, status: &DevServerStatus) {
        let serving = status.state == DevServerState::Serving;
        let upstream = status.upstream.unwrap_or(self.at_port);
        // What it answers to `/` may change; its address does not.
        let upstream = Upstream { answer: self.at_port.answer, ..upstream };
        let served_by = serving.then_some((status.pid, upstream));
        if served_by == self.served_by {
            return;
        }
        self.served_by = served_by;
        if let Some(ended) = self.session.take() {
            self.reported = ended.into_reported();
            self.client.send_replace(None);
        }
        if served_by.is_some() {
            self.unchecked = true;
            let dev_server = self.inputs.dev_server.clone();
            let output = Box::new(move || recent_lines(&dev_server));
            match Session::new(upstream, self.files.clone(), output, std::mem::take(&mut self.reported)) {
                Ok(session) => {
                    self.client.send_replace(Some(session.client().clone()));
                    self.session = Some(session);
                }
                Err(error) => tracing::warn!("cannot check the modules of the preview: {error}"),
            }
        }
    }
}

/// What the dev server printed within the last seconds, the oldest first.
fn recent_lines(dev_server: &DevServer) -> Vec<String> {
    let since = unix_ms().saturating_sub(RECENT_MS);
    let lines = dev_server.logs(RECENT_LINES).into_iter();
    lines.filter(|line| line.at_unix_ms >= since).map(|line| line.line).collect()
}

/// Never ends where there is no deadline.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Never ends where there is no session.
async fn session_event(session: &mut Option<Session>) {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}
