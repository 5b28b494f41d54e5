//! What is reported of the run: the log, `/status`, the status topic.

use std::time::{Duration, Instant};

use sync_core::{Event, Input, PhaseReport, RejectReason, SkipReason};

use crate::telemetry::report::{report, report_dev_server, since_sent};
use crate::telemetry::status::{BootStep, Limit, Phase};
use supervisor::clock::unix_ms;
use supervisor::dev_server::DevServerEvent;

use super::RunLoop;

/// The core is asked for its whole status at most this often: the answer grows with the pending files, and a burst of
/// events wakes the loop often.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// When `/status` is brought up to date.
#[derive(Debug, Default)]
pub(super) struct StatusRefresh {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl StatusRefresh {
    /// When the next refresh is due; none where nothing has changed since the last one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to refresh now. If not, a later time is noted.
    fn begin(&mut self, now: Instant) -> bool {
        let due = self.last.map_or(now, |last| last + MIN_REFRESH_INTERVAL);
        if now < due {
            self.due = Some(due);
            return false;
        }
        (self.last, self.due) = (Some(now), None);
        true
    }
}

impl RunLoop {
    /// Brings `/status` up to date, now or a moment later.
    pub(super) fn refresh_status(&mut self) {
        if self.status_refresh.begin(Instant::now()) {
            self.status.set_core_status(self.agent.status(self.now()));
        }
    }

    pub(super) fn report_core_event(&mut self, event: &Event) {
        report(event);
        match event {
            Event::ChannelJoined { .. } => self.status.record_boot_step(BootStep::ChannelJoined),
            Event::FileApplied { path, revision, lag, sent_at_ms, .. } => {
                self.status.set_last_applied(path, *revision, *lag, since_sent(*sent_at_ms));
            }
            Event::InSync { current: true, .. } => self.status.record_boot_step(BootStep::InSync),
            Event::CatchUp { .. } => self.handle_caught_up(),
            Event::Degraded { detail, .. } => self.status.record_error(detail.clone()),
            Event::Rejected { reason, detail } => {
                self.status.record_error(detail.clone());
                if *reason == RejectReason::Pages {
                    self.status.count_limit_hit(Limit::Pages);
                }
            }
            Event::Skipped { reason: SkipReason::HeldTooMany } => self.status.count_limit_hit(Limit::HeldEvents),
            Event::Skipped { reason: SkipReason::ProvisionalTooMany } => {
                self.status.count_limit_hit(Limit::ProvisionalEvents);
            }
            _ => {}
        }
    }

    /// Publishes the phase on the status topic, where publishing is on.
    pub(super) fn publish_phase(&mut self) {
        let dev_server = self.dev_server.status();
        let report = PhaseReport {
            phase: self.status.phase(),
            dev_server: dev_server.state.as_str().to_owned(),
            detail: dev_server.reason.map(|reason| reason.as_str().to_owned()),
            unix_ms: unix_ms(),
        };
        self.agent.handle(self.now(), Input::PhaseChanged(report));
    }

    pub(super) fn handle_dev_server_event(&mut self, event: DevServerEvent) {
        self.install_spinner.update(&event);
        report_dev_server(&event);
        match event {
            DevServerEvent::InstallStarted { .. } => {
                self.status.record_boot_step(BootStep::InstallStart);
                self.status.set_phase(Phase::Installing);
            }
            DevServerEvent::InstallDone { .. } => self.status.record_boot_step(BootStep::InstallDone),
            DevServerEvent::Started { .. } => {
                self.status.record_boot_step(BootStep::DevServerStart);
                self.status.set_phase(Phase::Serving);
            }
            DevServerEvent::Ready { .. } => self.status.record_boot_step(BootStep::DevServerReady),
            DevServerEvent::InstallFailed { detail, .. } => {
                self.status.set_phase(Phase::Serving);
                self.status.record_error(detail);
            }
            DevServerEvent::GaveUp { detail, .. } => {
                self.status.set_phase(Phase::Serving);
                self.status.count_limit_hit(Limit::RestartBudget);
                self.status.record_error(detail);
            }
            DevServerEvent::StartFailed { detail, .. } | DevServerEvent::Exited { detail, .. } => {
                self.status.set_phase(Phase::Serving);
                self.status.record_error(detail);
            }
            _ => {}
        }
        self.publish_phase();
    }
}
