//! What the dev server did on its own, and what is done about it: again in a moment, or not before an edit.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tokio::time::Instant;

use super::{State, Supervisor};
use crate::clock::unix_ms;
use crate::dev_server::diagnosis::{Diagnosis, config_detail, config_news};
use crate::dev_server::running::Did;
use crate::dev_server::{DevServerEvent, LastExit, Reason, Source};
use crate::process::OutputLine;

impl Supervisor {
    pub(super) async fn did(&mut self, did: Did) {
        match did {
            Did::Line(line) => self.line(line),
            Did::Ready(duration) => {
                // What an install left behind stays to be seen.
                self.fault.take_if(|fault| fault.reason != Reason::InstallFailed);
                self.event(DevServerEvent::Ready { duration });
            }
            // The state that is published has it.
            Did::Moved => {}
            Did::Exit(status) => {
                let Some((running, _)) = self.take_stopped().await else { return };
                let diagnosis = running.diagnose(status);
                self.exited(Some(status), diagnosis);
            }
            Did::Hang(detail) => {
                let Some((_, stopped)) = self.take_stopped().await else { return };
                self.exited(stopped.status, Diagnosis { reason: Reason::Hung, detail });
            }
        }
    }

    fn line(&mut self, line: OutputLine) {
        if let State::Running(running) = &self.state
            && running.vite
            && let Some(good) = config_news(&line.text)
        {
            self.fault.take_if(|fault| fault.reason == Reason::ConfigError);
            if !good {
                let detail = config_detail(running.last_lines());
                self.fault = Some(Diagnosis { reason: Reason::ConfigError, detail });
            }
        }
        self.shared.journal.line(Source::DevServer, line);
    }

    /// It ended and nobody asked it to.
    fn exited(&mut self, status: Option<ExitStatus>, diagnosis: Diagnosis) {
        let Diagnosis { reason, detail } = diagnosis.clone();
        let (code, signal) = (status.and_then(|status| status.code()), status.and_then(|status| status.signal()));
        self.last_exit = Some(LastExit { code, signal, reason, detail: detail.clone(), at_unix_ms: unix_ms() });
        self.event(DevServerEvent::Exited { code, signal, reason, detail });
        self.try_later(diagnosis);
    }

    pub(super) fn failed_to_start(&mut self, diagnosis: Diagnosis) {
        let Diagnosis { reason, detail } = diagnosis.clone();
        self.event(DevServerEvent::StartFailed { reason, detail });
        self.try_later(diagnosis);
    }

    fn try_later(&mut self, diagnosis: Diagnosis) {
        let now = Instant::now();
        match self.restarts.take(now, &self.config.limits, jitter()) {
            Some(delay) => {
                self.retry = Some(now + delay);
                self.event(DevServerEvent::RestartIn {
                    reason: diagnosis.reason,
                    delay,
                    attempt: self.restarts.taken(),
                });
            }
            None => self.give_up(&diagnosis),
        }
        self.fault = Some(diagnosis);
    }

    /// Nothing but an edit can help. A dev server that runs goes on.
    pub(super) fn cannot(&mut self, diagnosis: Diagnosis) {
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

pub(super) fn jitter() -> f64 {
    // The keys of each new hasher differ: randomness enough to spread restarts.
    f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX)
}
