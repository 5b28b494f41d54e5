//! Installs: begun, put in place once the dev server is out of the way, tried again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Supervisor;
use super::failures::jitter;
use crate::dependencies::{InstallError, Installed, Job, Surroundings};
use crate::dev_server::diagnosis::Diagnosis;
use crate::dev_server::{DevServerEvent, Reason, Source};
use sync_core::error_chain;

pub(super) struct Install {
    pub(super) task: JoinHandle<Result<Installed, InstallError>>,
    pub(super) cancel: watch::Sender<bool>,
    pub(super) started: Instant,
    pub(super) tree_exists: bool,
    /// Something changed since it began.
    pub(super) again: bool,
}

impl Supervisor {
    pub(super) fn begin_install(&mut self, job: Job) {
        self.event(DevServerEvent::InstallStarted { manager: job.manager() });
        let (cancel, cancelled) = watch::channel(false);
        let around = Surroundings {
            init: self.init.clone(),
            state_dir: self.config.state_dir.clone(),
            prepared_dir: self.config.prepared_dir.clone(),
            environment: self.config.environment.clone(),
            deadline: self.config.limits.install_deadline,
            cancel: cancelled,
        };
        let tree_exists = job.tree_exists();
        let shared = self.shared.clone();
        let task =
            tokio::spawn(async move { job.run(&around, |line| shared.journal.line(Source::Install, line)).await });
        self.install = Some(Install { task, cancel, started: Instant::now(), tree_exists, again: false });
    }

    pub(super) async fn installed(&mut self, result: Result<Installed, InstallError>) {
        let Some(install) = self.install.take() else { return };
        let mut prepared = false;
        let placed = match result {
            Ok(tree) => {
                prepared = tree.prepared;
                self.end_running("stopped for new dependencies").await;
                tree.place().await
            }
            Err(error) => Err(error),
        };
        let duration = install.started.elapsed();
        if self.boot.took.is_none() {
            self.boot.installing += duration;
        }
        match placed {
            Ok(()) => {
                self.event(DevServerEvent::InstallDone { duration, prepared });
                self.fault = None;
            }
            Err(error) => self.install_failed(&error, duration, install.tree_exists),
        }
        if install.again {
            self.bring_up(false).await;
        } else if self.fault.is_none() || install.tree_exists {
            // Not looked at again: a project whose install changes package.json would install for ever.
            match self.find_app() {
                Ok(app_dir) => self.start(&app_dir, false).await,
                Err(fault) => self.cannot(fault),
            }
        }
    }

    fn install_failed(&mut self, error: &InstallError, duration: Duration, tree_exists: bool) {
        let reason = error_chain(error);
        self.event(DevServerEvent::InstallFailed { reason: reason.clone(), duration });
        let fault = Diagnosis { reason: Reason::InstallFailed, detail: reason };
        let now = Instant::now();
        let delay = if error.is_final() { None } else { self.installs.take(now, &self.config.limits, jitter()) };
        match delay {
            Some(delay) => {
                self.retry = Some(now + delay);
                self.event(DevServerEvent::RestartIn { reason: fault.reason, delay, attempt: self.installs.taken() });
            }
            None if tree_exists => {}
            None => self.give_up(&fault),
        }
        self.fault = Some(fault);
    }
}
