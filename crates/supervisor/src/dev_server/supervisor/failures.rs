//! What the dev server does by itself, and the reaction: a restart after a delay, or none until a file changes.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tokio::time::Instant;

use super::{State, Supervisor};
use crate::clock::unix_ms;
use crate::dev_server::diagnosis::{ConfigReport, Diagnosis, config_detail, config_report};
use crate::dev_server::plan::ServerKind;
use crate::dev_server::running::ProcessEvent;
use crate::dev_server::{DevServerEvent, FaultReason, LastExit, OutputSource};
use crate::process::OutputLine;

impl Supervisor {
    pub(super) async fn handle_process(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Line(line) => self.line(line),
            ProcessEvent::Ready(duration) => {
                // A failed install stays in the status.
                self.fault.take_if(|fault| fault.reason != FaultReason::InstallFailed);
                self.event(DevServerEvent::Ready { duration });
            }
            // The status that is published has the new address.
            ProcessEvent::Moved => {}
            ProcessEvent::Exit(status) => {
                let Some((running, _)) = self.take_stopped().await else { return };
                let diagnosis = running.diagnose(status);
                self.exited(Some(status), diagnosis);
            }
            ProcessEvent::Hang(detail) => {
                let Some((_, stopped)) = self.take_stopped().await else { return };
                self.exited(stopped.status, Diagnosis { reason: FaultReason::Hung, detail });
            }
        }
    }

    fn line(&mut self, line: OutputLine) {
        if let State::Running(running) = &self.state
            && running.kind == ServerKind::Vite
            && let Some(report) = config_report(&line.text)
        {
            self.fault.take_if(|fault| fault.reason == FaultReason::ConfigError);
            if report == ConfigReport::Broken {
                let detail = config_detail(running.last_lines());
                self.fault = Some(Diagnosis { reason: FaultReason::ConfigError, detail });
            }
        }
        self.shared.log.line(OutputSource::DevServer, line);
    }

    /// It ended, and no stop was requested.
    fn exited(&mut self, status: Option<ExitStatus>, diagnosis: Diagnosis) {
        let Diagnosis { reason, detail } = diagnosis.clone();
        let (code, signal) = (status.and_then(|status| status.code()), status.and_then(|status| status.signal()));
        self.last_exit = Some(LastExit { code, signal, reason, detail: detail.clone(), at_unix_ms: unix_ms() });
        self.event(DevServerEvent::Exited { code, signal, reason, detail });
        self.restart_later(diagnosis);
    }

    pub(super) fn failed_to_start(&mut self, diagnosis: Diagnosis) {
        let Diagnosis { reason, detail } = diagnosis.clone();
        self.event(DevServerEvent::StartFailed { reason, detail });
        self.restart_later(diagnosis);
    }

    fn restart_later(&mut self, diagnosis: Diagnosis) {
        let now = Instant::now();
        match self.restarts.take(now, &mut self.rng) {
            Some(delay) => {
                self.retry = Some(crate::clock::after(now, delay));
                let attempt = self.restarts.attempts();
                self.event(DevServerEvent::RestartIn { reason: diagnosis.reason, delay, attempt });
            }
            None => self.give_up(&diagnosis),
        }
        self.fault = Some(diagnosis);
    }

    /// Only an edit can help. A dev server that runs is not stopped.
    pub(super) fn cannot_start(&mut self, diagnosis: Diagnosis) {
        let Diagnosis { reason, detail } = diagnosis.clone();
        self.event(DevServerEvent::StartFailed { reason, detail });
        if !matches!(self.state, State::Running(_)) {
            self.give_up(&diagnosis);
        }
        self.fault = Some(diagnosis);
    }

    pub(super) fn give_up(&mut self, Diagnosis { reason, detail }: &Diagnosis) {
        self.event(DevServerEvent::GaveUp { reason: *reason, detail: detail.clone() });
    }
}
