mod edits;
mod failures;
mod installs;
mod starting;
mod stopping;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use sync_core::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::diagnosis::Diagnosis;
use super::restart_budget::RestartBudget;
use super::running::{ProcessEvent, Running};
use super::{Config, DevServerEvent, DevServerState, DevServerStatus, LastExit, PendingRequests, Shared};
use crate::clock::unix_ms;
use crate::dependencies::{InstallError, InstalledTree};
use crate::directory::Directory;
use crate::init::Init;

use edits::SettlingEdit;
use installs::RunningInstall;

/// Owns the dev server and the installs; see [`Supervisor::run`].
pub(super) struct Supervisor {
    init: Init,
    config: Config,
    shared: Arc<Shared>,
    hurry: watch::Receiver<bool>,
    /// The project's root, held open from the first use on.
    root: Option<Directory>,
    state: State,
    install: Option<RunningInstall>,
    edit: Option<SettlingEdit>,
    /// When to try again without an edit.
    retry: Option<Instant>,
    restarts: RestartBudget,
    installs: RestartBudget,
    /// For the jitter of restarts.
    rng: Rng,
    /// What is wrong, also while a dev server runs.
    fault: Option<Diagnosis>,
    last_exit: Option<LastExit>,
    starts: u64,
    first_start: FirstStart,
    /// The port that a dev server behind a proxy was last given.
    given_port: Option<u16>,
}

#[derive(Debug)]
enum State {
    /// The files are not on disk yet.
    Waiting,
    Running(Box<Running>),
    /// No dev server. The end of an install, a retry or an edit starts one.
    Down,
    Stopped,
}

/// How long the first start took.
#[derive(Debug, Default)]
struct FirstStart {
    files_ready: Option<Instant>,
    installing: Duration,
    took: Option<Duration>,
}

impl FirstStart {
    fn started(&mut self) {
        if let (Some(since), None) = (self.files_ready, self.took) {
            self.took = Some(since.elapsed().saturating_sub(self.installing));
        }
    }
}

/// Why the supervisor's loop continues.
enum LoopEvent {
    Request,
    Process(ProcessEvent),
    InstallEnded(Result<InstalledTree, InstallError>),
    RetryDue,
    EditSettled,
}

/// What happens to a dev server that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    /// It is restarted in any case.
    Always,
    /// It is restarted only where its command has changed.
    IfChanged,
}

impl Supervisor {
    pub(super) fn new(init: Init, config: Config, shared: Arc<Shared>) -> Supervisor {
        let (restarts, installs) = (RestartBudget::new(&config.limits), RestartBudget::new(&config.limits));
        Supervisor {
            init,
            config,
            hurry: shared.hurry.subscribe(),
            shared,
            root: None,
            state: State::Waiting,
            install: None,
            edit: None,
            retry: None,
            restarts,
            installs,
            rng: Rng::new(seed()),
            fault: None,
            last_exit: None,
            starts: 0,
            first_start: FirstStart::default(),
            given_port: None,
        }
    }

    /// Runs until a stop is requested.
    pub(super) async fn run(mut self) {
        loop {
            self.publish();
            if matches!(self.state, State::Stopped) {
                return;
            }
            match self.wait().await {
                LoopEvent::Request => self.handle_requests().await,
                LoopEvent::Process(event) => self.handle_process(event).await,
                LoopEvent::InstallEnded(result) => self.install_ended(result).await,
                LoopEvent::RetryDue => {
                    self.retry = None;
                    self.install_or_start(Restart::IfChanged).await;
                }
                LoopEvent::EditSettled => self.edit_settled().await,
            }
        }
    }

    async fn wait(&mut self) -> LoopEvent {
        let running = match &mut self.state {
            State::Running(running) => Some(running),
            _ => None,
        };
        tokio::select! {
            () = self.shared.wake.notified() => LoopEvent::Request,
            event = next_event(running) => LoopEvent::Process(event),
            ended = installed(&mut self.install) => LoopEvent::InstallEnded(ended),
            () = at(self.retry) => LoopEvent::RetryDue,
            () = at(self.edit.as_ref().map(SettlingEdit::due)) => LoopEvent::EditSettled,
        }
    }

    async fn handle_requests(&mut self) {
        let PendingRequests { files_ready, edit, stop } =
            std::mem::take(&mut *self.shared.requests.lock().expect("no panic while held"));
        if stop {
            return self.stop().await;
        }
        if files_ready && matches!(self.state, State::Waiting) {
            self.first_start.files_ready = Some(Instant::now());
            self.state = State::Down;
            return self.install_or_start(Restart::IfChanged).await;
        }
        if let Some(effects) = edit {
            self.edited(effects);
        }
    }

    fn event(&self, event: DevServerEvent) {
        self.shared.log.event(event);
    }

    fn publish(&self) {
        let running = match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        };
        let state = match &self.state {
            State::Waiting => DevServerState::Waiting,
            State::Running(running) if running.ready => DevServerState::Serving,
            State::Running(_) => DevServerState::Starting,
            State::Down if self.install.is_some() => DevServerState::Installing,
            State::Down if self.retry.is_some() => DevServerState::Restarting,
            State::Down => DevServerState::GaveUp,
            State::Stopped => DevServerState::Stopped,
        };
        let before = self.shared.status.borrow().clone();
        let unchanged = before.state == state && before.since_unix_ms != 0;
        let since_unix_ms = if unchanged { before.since_unix_ms } else { unix_ms() };
        let behind_proxy = matches!(self.config.placement, super::Placement::BehindProxy { .. });
        let status = DevServerStatus {
            state,
            upstream: running.and_then(|running| running.upstream).filter(|_| behind_proxy),
            pid: running.map(|running| running.id()),
            restarts: self.starts.saturating_sub(1),
            installing: self.install.is_some(),
            last_exit: self.last_exit.clone(),
            reason: self.fault.as_ref().map(|fault| fault.reason),
            detail: self.fault.as_ref().map(|fault| fault.detail.clone()),
            command: running.map(|running| running.command.clone()),
            since_unix_ms,
            first_start_ms: self.first_start.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        };
        if status != before {
            self.shared.status.send_replace(status);
        }
    }
}

/// The keys of each new hasher differ.
fn seed() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// Never ends where no dev server runs.
async fn next_event(running: Option<&mut Box<Running>>) -> ProcessEvent {
    match running {
        Some(running) => running.next().await,
        None => std::future::pending().await,
    }
}

/// Never ends where no install runs.
async fn installed(install: &mut Option<RunningInstall>) -> Result<InstalledTree, InstallError> {
    match install {
        Some(install) => (&mut install.task).await.unwrap_or_else(|lost| Err(lost.into())),
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
