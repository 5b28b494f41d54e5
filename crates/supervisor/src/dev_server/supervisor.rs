mod failures;
mod installs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::budget::Budget;
use super::diagnosis::Diagnosis;
use super::plan::{Plan, plan};
use super::running::{Did, Running, hurried};
use super::{
    Asked, Config, DevServerEvent, DevServerStatus, LastExit, Placement, PlanError, Reason, Shared, Source, StateName,
    Work, probe, project,
};
use crate::clock::unix_ms;
use crate::dependencies::{InstallError, Installed, Need, look};
use crate::init::Init;
use crate::process::Stopped;
use sync_core::error_chain;

use installs::Install;

/// Edits that never pause are acted on after this many settling times all the same.
const MAX_SETTLES: u32 = 8;

/// Owns the dev server and the installs; see [`Supervisor::run`].
pub(super) struct Supervisor {
    init: Init,
    config: Config,
    shared: Arc<Shared>,
    hurry: watch::Receiver<bool>,
    state: State,
    install: Option<Install>,
    /// An edit that has to settle, and what it asks for.
    edit: Option<Edit>,
    /// When to try again without an edit.
    retry: Option<Instant>,
    restarts: Budget,
    installs: Budget,
    /// What is wrong, be it beside a dev server that runs.
    fault: Option<Diagnosis>,
    last_exit: Option<LastExit>,
    starts: u64,
    boot: Boot,
    /// The port that a dev server behind a proxy was last given.
    given_port: Option<u16>,
}

#[derive(Debug)]
enum State {
    /// The files are not there yet.
    Waiting,
    Running(Box<Running>),
    /// No dev server; an install, a retry or an edit brings it up.
    Down,
    Stopped,
}

#[derive(Debug, Clone, Copy)]
struct Edit {
    first: Instant,
    at: Instant,
    work: Work,
}

/// What the first start took.
#[derive(Debug, Default)]
struct Boot {
    files_ready: Option<Instant>,
    installing: Duration,
    took: Option<Duration>,
}

enum Wake {
    Asked,
    Did(Did),
    Installed(Result<Installed, InstallError>),
    Retry,
    Settled,
}

impl Supervisor {
    pub(super) fn new(init: Init, config: Config, shared: Arc<Shared>) -> Supervisor {
        Supervisor {
            init,
            config,
            hurry: shared.hurry.subscribe(),
            shared,
            state: State::Waiting,
            install: None,
            edit: None,
            retry: None,
            restarts: Budget::default(),
            installs: Budget::default(),
            fault: None,
            last_exit: None,
            starts: 0,
            boot: Boot::default(),
            given_port: None,
        }
    }

    /// Until it is asked to stop.
    pub(super) async fn run(mut self) {
        loop {
            self.publish();
            if matches!(self.state, State::Stopped) {
                return;
            }
            match self.wait().await {
                Wake::Asked => self.asked().await,
                Wake::Did(did) => self.did(did).await,
                Wake::Installed(result) => self.installed(result).await,
                Wake::Retry => {
                    self.retry = None;
                    self.bring_up(false).await;
                }
                Wake::Settled => self.settled().await,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let running = match &mut self.state {
            State::Running(running) => Some(running),
            _ => None,
        };
        tokio::select! {
            () = self.shared.wake.notified() => Wake::Asked,
            did = async { running.expect("guarded").next().await }, if running.is_some() => Wake::Did(did),
            ended = async { (&mut self.install.as_mut().expect("guarded").task).await }, if self.install.is_some() => {
                Wake::Installed(ended.unwrap_or_else(|lost| Err(lost.into())))
            }
            () = at(self.retry) => Wake::Retry,
            () = at(self.edit.map(|edit| edit.at)) => Wake::Settled,
        }
    }

    async fn asked(&mut self) {
        let Asked { files_ready, edit, stop } =
            std::mem::take(&mut *self.shared.asked.lock().expect("no panic while held"));
        if stop {
            return self.stop().await;
        }
        if files_ready && matches!(self.state, State::Waiting) {
            self.boot.files_ready = Some(Instant::now());
            self.state = State::Down;
            return self.bring_up(false).await;
        }
        if let Some(work) = edit {
            self.edited(work);
        }
    }

    /// While it runs, most edits are the dev server's own business; while it is down, any may be the fix.
    fn edited(&mut self, work: Work) {
        let down = matches!(self.state, State::Down) && self.install.is_none();
        if matches!(self.state, State::Waiting) || (work == Work::default() && !down) {
            return;
        }
        let now = Instant::now();
        let settle = self.config.limits.settle;
        let first = self.edit.map_or(now, |edit| edit.first);
        let work = self.edit.map_or(work, |edit| edit.work.and(work));
        self.edit = Some(Edit { first, at: (now + settle).min(first + settle * MAX_SETTLES), work });
    }

    async fn settled(&mut self) {
        let Some(edit) = self.edit.take() else { return };
        self.retry = None;
        self.restarts.refill();
        self.installs.refill();
        self.bring_up(edit.work.restart).await;
    }

    /// Installs what is missing, else starts what does not run (or, with `anew`, what does).
    async fn bring_up(&mut self, anew: bool) {
        if let Some(install) = &mut self.install {
            install.again = true;
            return;
        }
        let need = self.find_app().and_then(|app_dir| match look(&self.config.project_dir, &app_dir) {
            Ok(need) => Ok((app_dir, need)),
            Err(error) => Err(Diagnosis { reason: Reason::ConfigError, detail: error_chain(&error) }),
        });
        match need {
            Ok((_, Need::Install(job))) => self.begin_install(job),
            Ok((app_dir, Need::Nothing)) => {
                self.fault = None;
                self.start(&app_dir, anew).await;
            }
            Err(fault) => self.cannot(fault),
        }
    }

    fn find_app(&self) -> Result<PathBuf, Diagnosis> {
        let app_dir = project::find_app(&self.config).map_err(|error| from_plan(&error))?;
        let relative = app_dir.strip_prefix(&self.config.project_dir).ok().map(Path::to_owned);
        self.shared.scope.lock().expect("no panic while held").app_dir = relative;
        Ok(app_dir)
    }

    async fn start(&mut self, app_dir: &Path, anew: bool) {
        let port = match self.choose_port().await {
            Ok(port) => port,
            Err(fault) => return self.cannot(fault),
        };
        let plan = match plan(&self.config, port, app_dir) {
            Ok(plan) => plan,
            Err(error) => return self.cannot(from_plan(&error)),
        };
        self.shared.scope.lock().expect("no panic while held").vite = plan.vite;
        if let State::Running(running) = &self.state {
            if !anew && running.plan == plan.identity {
                return;
            }
            self.end_running("stopped to be started anew").await;
        }
        self.spawn(plan, port).await;
    }

    /// The port that the dev server is given. One that was chosen is kept while it is free.
    async fn choose_port(&mut self) -> Result<u16, Diagnosis> {
        let port = match (self.config.placement, self.given_port) {
            (Placement::PreviewPort(port) | Placement::BehindProxy { port: Some(port) }, _) => return Ok(port),
            (Placement::BehindProxy { port: None }, Some(port)) => {
                if matches!(self.state, State::Running(_)) || !probe::taken(port).await {
                    return Ok(port);
                }
                probe::free_port()
            }
            (Placement::BehindProxy { port: None }, None) => probe::free_port(),
        };
        let port = port.map_err(|error| Diagnosis {
            reason: Reason::PortInUse,
            detail: format!("cannot find a free port for the dev server: {error}"),
        })?;
        self.given_port = Some(port);
        Ok(port)
    }

    async fn spawn(&mut self, plan: Plan, port: u16) {
        if probe::taken(port).await {
            let detail = format!("port {port} is already in use by another program");
            return self.failed_to_start(Diagnosis { reason: Reason::PortInUse, detail });
        }
        let Plan { command, identity, vite } = plan;
        let text = command.display();
        match self.init.spawn(command) {
            Ok(process) => {
                self.boot.spawned();
                self.starts += 1;
                let running = Running::new(process, text.clone(), identity, vite, port, &self.config);
                self.event(DevServerEvent::Started { pid: running.id(), command: text });
                self.state = State::Running(Box::new(running));
            }
            Err(error) => {
                let detail = format!("cannot start `{text}`: {error}");
                self.failed_to_start(Diagnosis { reason: Reason::Crashed, detail });
            }
        }
    }

    async fn stop(&mut self) {
        if let Some(install) = &self.install {
            install.cancel.send_replace(true);
        }
        self.end_running("stopped").await;
        if let Some(mut install) = self.install.take() {
            tokio::select! {
                // Whatever it says, it is over.
                _ = &mut install.task => {}
                // Dropped, it kills the package manager.
                () = hurried(&mut self.hurry) => install.task.abort(),
            }
            sweep_strays(self.install.is_some()).await;
        }
        self.state = State::Stopped;
    }

    /// Stops a dev server that runs. Its status is none where not even SIGKILL ended it in time.
    async fn end_running(&mut self, why: &str) {
        if let Some((running, stopped)) = self.take_stopped().await {
            tracing::info!(pid = running.id(), why, killed = stopped.killed, "dev server stopped");
        }
    }

    async fn take_stopped(&mut self) -> Option<(Running, Stopped)> {
        let State::Running(mut running) = std::mem::replace(&mut self.state, State::Down) else { return None };
        let journal = &self.shared.journal;
        let line = |line| journal.line(Source::DevServer, line);
        let stopped = running.stop(self.config.grace, &mut self.hurry, line).await;
        sweep_strays(self.install.is_some()).await;
        Some((*running, stopped))
    }

    fn event(&self, event: DevServerEvent) {
        self.shared.journal.event(event);
    }

    fn publish(&self) {
        let running = match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        };
        let state = match &self.state {
            State::Waiting => StateName::Waiting,
            State::Running(running) if running.ready => StateName::Serving,
            State::Running(_) => StateName::Starting,
            State::Down if self.install.is_some() => StateName::Installing,
            State::Down if self.retry.is_some() => StateName::Restarting,
            State::Down => StateName::GaveUp,
            State::Stopped => StateName::Stopped,
        };
        let before = self.shared.status.borrow().clone();
        let since_unix_ms =
            if before.state == state && before.since_unix_ms != 0 { before.since_unix_ms } else { unix_ms() };
        let status = DevServerStatus {
            state,
            upstream: running.and_then(|running| running.upstream),
            pid: running.map(|running| running.id()),
            restarts: self.starts.saturating_sub(1),
            installing: self.install.is_some(),
            last_exit: self.last_exit.clone(),
            reason: self.fault.as_ref().map(|fault| fault.reason),
            detail: self.fault.as_ref().map(|fault| fault.detail.clone()),
            command: running.map(|running| running.command.clone()),
            since_unix_ms,
            first_start_ms: self.boot.took.map(|took| took.as_millis() as u64),
        };
        if status != before {
            self.shared.status.send_replace(status);
        }
    }
}

impl Boot {
    fn spawned(&mut self) {
        if let (Some(since), None) = (self.files_ready, self.took) {
            self.took = Some(since.elapsed().saturating_sub(self.installing));
        }
    }
}

/// Whoever left its process group is ours now. While an install runs, such processes may be its own.
async fn sweep_strays(installing: bool) {
    #[cfg(target_os = "linux")]
    if !installing {
        crate::process::kill_strays(crate::process::KILL_WAIT).await;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = installing;
}

fn from_plan(error: &PlanError) -> Diagnosis {
    Diagnosis { reason: error.reason(), detail: error_chain(error) }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
