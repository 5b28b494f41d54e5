//! One run of a package manager.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::attempt::Attempt;
use super::report::{Report, report};
use super::{InstallContext, InstallError};
use crate::dependencies::Candidate;
use crate::dependencies::manager::Tool;
use crate::directory::Directory;
use crate::process::{ChildEvent, Command, OutputLine, Process};

/// Last lines that are kept to find out why an install failed. npm's report of a version conflict has about 30.
const KEPT_LINES: usize = 200;
/// Time from SIGTERM to SIGKILL for a package manager.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A package manager that is installed, and how to run it for one job.
pub(super) struct PackageManager<'a> {
    pub(super) way: Candidate,
    pub(super) tool: Tool,
    pub(super) context: &'a InstallContext,
    /// When the whole job has to be done.
    pub(super) deadline: Instant,
}

/// How a run ended.
pub(super) enum Outcome {
    Success,
    Failed(RunFailure),
}

/// A run that failed.
pub(super) struct RunFailure {
    pub(super) report: Report,
    /// The exit status as text.
    status: String,
}

impl PackageManager<'_> {
    /// Runs the manager in `dir`.
    pub(super) async fn run(
        &self,
        dir: &Directory,
        attempt: Attempt,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Outcome, InstallError> {
        let mut process = self.spawn(dir, attempt)?;
        let mut kept = VecDeque::new();
        let mut keep = |got: OutputLine| {
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(got.text.clone());
            line(got);
        };
        let mut cancel = self.context.cancel.clone();
        let status = loop {
            let stopped_by = tokio::select! {
                event = process.next() => match event {
                    ChildEvent::Line(got) => {
                        keep(got);
                        continue;
                    }
                    ChildEvent::Exit(status) => break status,
                },
                () = sleep_until(self.deadline) => {
                    InstallError::Deadline { manager: self.name(), deadline: self.context.deadline }
                }
                () = cancelled(&mut cancel) => InstallError::Cancelled,
            };
            process.stop(STOP_GRACE).await;
            return Err(stopped_by);
        };
        process.stop(STOP_GRACE).await;
        process.remaining_lines(&mut keep).await;
        if status.success() {
            return Ok(Outcome::Success);
        }
        let report = report(kept.make_contiguous(), status.code());
        Ok(Outcome::Failed(RunFailure { report, status: status.to_string() }))
    }

    /// The error of a job that ends with this failure.
    pub(super) fn error(&self, failed: &RunFailure) -> InstallError {
        InstallError::Failed {
            manager: self.name(),
            failure: failed.report.failure,
            status: failed.status.clone(),
            detail: failed.report.reason.clone(),
        }
    }

    fn name(&self) -> &'static str {
        self.way.manager.name()
    }

    fn spawn(&self, dir: &Directory, attempt: Attempt) -> Result<Process, InstallError> {
        let failed = |source| InstallError::Spawn { manager: self.name(), source };
        let mut environment = self.context.environment.clone();
        for (name, value) in self.way.manager.environment() {
            environment.set_default(*name, *value);
        }
        let dir = Arc::new(dir.try_clone().map_err(failed)?);
        let command = match &self.tool {
            Tool::Own(program) => Command::new(program, dir, environment),
            Tool::Corepack(program) => Command::new(program, dir, environment).arg(self.name()),
        };
        let command = command.args(attempt.arguments(self.way.manager));
        self.context.init.spawn(command).map_err(failed)
    }
}

/// Also returns when the sender is gone: then no caller waits for the install.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|cancel| *cancel).await;
}
