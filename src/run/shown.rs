//! What is told of the run: the log, the board behind `/status`, the status topic.

use std::time::{Duration, Instant};

use sync_core::{Event, Input, PhaseReport, RejectReason, SkipReason, Time};

use crate::telemetry::report::{report, report_dev_server, since_sent};
use crate::telemetry::status::Phase;
use crate::telemetry::status::codes::Limit;
use supervisor::clock::unix_ms;
use supervisor::dev_server::DevServerEvent;

use super::Running;
use super::first::FirstState;

/// The most often that the core is asked for its whole status.
const SHOW_EVERY: Duration = Duration::from_millis(100);

impl Running {
    /// Brings the board up to date, now or a moment later: what is shown grows with the debts, and a burst wakes often.
    pub(super) fn show(&mut self) {
        let now = Instant::now();
        let due = self.shown.map_or(now, |shown| shown + SHOW_EVERY);
        if now < due {
            self.show_at = Some(due);
            return;
        }
        self.board.set_core(self.agent.status(Time(self.started.elapsed())));
        self.shown = Some(now);
        self.show_at = None;
    }

    pub(super) fn tell(&mut self, event: &Event) {
        report(event);
        match event {
            Event::ChannelJoined { .. } => self.board.mark("channel_joined"),
            Event::FileApplied { path, revision, lag, sent_at_ms, .. } => {
                self.board.set_applied(path, *revision, *lag, since_sent(*sent_at_ms));
            }
            Event::InSync { current: true, .. } => self.board.mark("in_sync"),
            Event::CatchUp { .. } => {
                if let FirstState::Read { caught_up } = &mut self.first_state {
                    *caught_up = true;
                }
            }
            Event::Degraded { detail, .. } => self.board.error(detail.clone()),
            Event::Rejected { reason, detail } => {
                self.board.error(detail.clone());
                if *reason == RejectReason::Pages {
                    self.board.limit_hit(Limit::Pages);
                }
            }
            Event::Skipped { reason: SkipReason::HeldTooMany } => self.board.limit_hit(Limit::HeldEvents),
            Event::Skipped { reason: SkipReason::ProvisionalTooMany } => {
                self.board.limit_hit(Limit::ProvisionalEvents);
            }
            _ => {}
        }
    }

    /// Tells the status topic (where publishing is on) what the agent is about now.
    pub(super) fn publish_phase(&mut self) {
        let dev_server = self.dev_server.status();
        let report = PhaseReport {
            phase: self.board.phase(),
            dev_server: dev_server.state.code().to_owned(),
            detail: dev_server.reason.map(|reason| reason.code().to_owned()),
            unix_ms: unix_ms(),
        };
        self.agent.handle(Time(self.started.elapsed()), Input::PhaseChanged(report));
    }

    pub(super) fn dev_server_says(&mut self, event: DevServerEvent) {
        self.install.update(&event);
        report_dev_server(&event);
        match event {
            DevServerEvent::InstallStarted { .. } => {
                self.board.mark("install_start");
                self.board.set_phase(Phase::Installing);
            }
            DevServerEvent::InstallDone { .. } => self.board.mark("install_done"),
            DevServerEvent::Started { .. } => {
                self.board.mark("dev_server_start");
                self.board.set_phase(Phase::Serving);
            }
            DevServerEvent::Ready { .. } => self.board.mark("dev_server_ready"),
            DevServerEvent::InstallFailed { reason, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.error(reason);
            }
            DevServerEvent::GaveUp { detail, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.limit_hit(Limit::RestartBudget);
                self.board.error(detail);
            }
            DevServerEvent::StartFailed { detail, .. } | DevServerEvent::Exited { detail, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.error(detail);
            }
            _ => {}
        }
        self.publish_phase();
    }
}
