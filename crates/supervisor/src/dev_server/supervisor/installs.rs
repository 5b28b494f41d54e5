//! Installs: started, put in place once the dev server is stopped, tried again.

use std::time::Duration;

use sync_core::error_chain;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Restart, Supervisor};
use crate::dependencies::{InstallContext, InstallError, InstallJob, InstalledTree, TreeOrigin};
use crate::dev_server::diagnosis::Diagnosis;
use crate::dev_server::{DevServerEvent, FaultReason, OutputSource};

/// An install that was started and has not ended yet.
pub(super) struct RunningInstall {
    pub(super) task: JoinHandle<Result<InstalledTree, InstallError>>,
    pub(super) cancel: watch::Sender<bool>,
    started: Instant,
    /// A tree was there when it began.
    had_tree: bool,
    /// A file changed since it began.
    pub(super) changed_meanwhile: bool,
}

impl Supervisor {
    pub(super) fn begin_install(&mut self, job: InstallJob) {
        self.event(DevServerEvent::InstallStarted { manager: job.manager(&self.config.environment) });
        let (cancel, cancelled) = watch::channel(false);
        let context = InstallContext {
            init: self.init.clone(),
            state_dir: self.config.state_dir.clone(),
            prepared_dir: self.config.prepared_dir.clone(),
            environment: self.config.environment.clone(),
            deadline: self.config.limits.install_deadline,
            cancel: cancelled,
        };
        let had_tree = job.has_tree();
        let shared = self.shared.clone();
        let task =
            tokio::spawn(async move { job.run(&context, |line| shared.log.line(OutputSource::Install, line)).await });
        let started = Instant::now();
        self.install = Some(RunningInstall { task, cancel, started, had_tree, changed_meanwhile: false });
    }

    pub(super) async fn install_ended(&mut self, result: Result<InstalledTree, InstallError>) {
        let Some(install) = self.install.take() else { return };
        let placed = match result {
            Ok(tree) => {
                self.end_running("new dependencies").await;
                let origin = tree.origin;
                tree.place().await.map(|()| origin)
            }
            Err(error) => Err(error),
        };
        let duration = install.started.elapsed();
        if self.first_start.took.is_none() {
            self.first_start.installing = self.first_start.installing.saturating_add(duration);
        }
        match placed {
            Ok(origin) => {
                self.event(DevServerEvent::InstallDone { duration, prepared: origin == TreeOrigin::Prepared });
                self.fault = None;
            }
            Err(error) => self.install_failed(&error, duration, &install),
        }
        if install.changed_meanwhile {
            self.install_or_start(Restart::IfChanged).await;
        } else if self.fault.is_none() || install.had_tree {
            // The dependencies are not checked again: where an install changes package.json, that would never end.
            match self.find_app() {
                Ok(app) => self.start(&app, Restart::IfChanged).await,
                Err(fault) => self.cannot_start(fault),
            }
        }
    }

    fn install_failed(&mut self, error: &InstallError, duration: Duration, install: &RunningInstall) {
        let (failure, detail) = (error.failure(), error_chain(error));
        self.event(DevServerEvent::InstallFailed { failure, detail: detail.clone(), duration });
        let fault = Diagnosis { reason: FaultReason::InstallFailed, detail };
        let now = Instant::now();
        let delay = if failure.needs_edit() { None } else { self.installs.take(now, &mut self.rng) };
        match delay {
            Some(delay) => {
                self.retry = Some(crate::clock::after(now, delay));
                let attempt = self.installs.attempts();
                self.event(DevServerEvent::RestartIn { reason: fault.reason, delay, attempt });
            }
            None if install.had_tree => {}
            None => self.give_up(&fault),
        }
        self.fault = Some(fault);
    }
}
