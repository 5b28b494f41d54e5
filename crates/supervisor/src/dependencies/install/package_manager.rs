use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{InstallContext, InstallError, InstallFailure, InstallJob, Manager};
use crate::directory::Directory;
use crate::process::{ChildEvent, Command, OutputLine, Process, Stream};

/// Last lines that are kept to say why an install failed.
const KEPT_LINES: usize = 40;
/// Time from SIGTERM to SIGKILL for a package manager.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The package manager's program, and how to run it for one job.
pub(super) struct PackageManager<'a> {
    job: &'a InstallJob,
    context: &'a InstallContext,
    program: PathBuf,
    deadline: Instant,
}

/// How one run ended.
enum Outcome {
    Success,
    /// Lock file and package.json do not match.
    Mismatch,
    Failed(InstallError),
}

impl<'a> PackageManager<'a> {
    pub(super) fn find(job: &'a InstallJob, context: &'a InstallContext) -> Result<PackageManager<'a>, InstallError> {
        let manager = job.manager.name();
        let program = context.environment.find(manager).ok_or(match job.lock {
            Some(lock) if job.manager != Manager::Npm => InstallError::ManagerMissing { manager, lock },
            _ => InstallError::NpmMissing,
        })?;
        Ok(PackageManager { job, context, program, deadline: crate::clock::from_now(context.deadline) })
    }

    /// Installs in `dir` what the lock file names; where that does not match package.json (only one of them was edited),
    /// what package.json names.
    pub(super) async fn install(&self, dir: &Directory, line: &mut impl FnMut(OutputLine)) -> Result<(), InstallError> {
        let manager = self.job.manager;
        if self.job.lock.is_some() {
            match self.run(dir, manager.frozen(), line).await? {
                Outcome::Success => return Ok(()),
                Outcome::Mismatch if manager == Manager::YarnBerry && dir.path() == self.job.root.path() => {
                    // It always writes the lock file, which here is the project's.
                    let detail = "yarn.lock does not match package.json, and yarn would rewrite it; update yarn.lock";
                    return Err(self.failed("was not run".into(), detail.into()));
                }
                Outcome::Mismatch => {
                    let text = "the lock file does not match package.json: installing by package.json".to_owned();
                    line(OutputLine { stream: Stream::Stderr, text });
                }
                Outcome::Failed(error) => return Err(error),
            }
        }
        match self.run(dir, manager.loose(), line).await? {
            Outcome::Success => Ok(()),
            Outcome::Mismatch => {
                Err(self.failed("failed".into(), "the lock file does not match package.json; update it".into()))
            }
            Outcome::Failed(error) => Err(error),
        }
    }

    async fn run(
        &self,
        dir: &Directory,
        args: &[&str],
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Outcome, InstallError> {
        let mut process = self.spawn(dir, args)?;
        let mut kept = VecDeque::new();
        let mut mismatch = false;
        let mut keep = |got: OutputLine| {
            mismatch |= self.job.manager.reports_mismatch(&got.text);
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
                    InstallError::Deadline { manager: self.job.manager(), deadline: self.context.deadline }
                }
                () = cancelled(&mut cancel) => InstallError::Cancelled,
            };
            process.stop(STOP_GRACE).await;
            return Err(stopped_by);
        };
        process.stop(STOP_GRACE).await;
        process.remaining_lines(&mut keep).await;
        Ok(match status.success() {
            true => Outcome::Success,
            false if mismatch => Outcome::Mismatch,
            false => Outcome::Failed(self.failed(status.to_string(), summary(&kept))),
        })
    }

    fn spawn(&self, dir: &Directory, args: &[&str]) -> Result<Process, InstallError> {
        let failed = |source| InstallError::Spawn { manager: self.job.manager(), source };
        let mut environment = self.context.environment.clone();
        for (name, value) in self.job.manager.environment() {
            environment.set_default(*name, *value);
        }
        let dir = Arc::new(dir.try_clone().map_err(failed)?);
        let command = Command::new(&self.program, dir, environment).args(args.iter().copied());
        self.context.init.spawn(command).map_err(failed)
    }

    fn failed(&self, status: String, detail: String) -> InstallError {
        let failure = InstallFailure::of_output(&detail);
        InstallError::Failed { manager: self.job.manager(), failure, status, detail }
    }
}

/// Also returns when the sender is gone: then no caller waits for the install.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|cancel| *cancel).await;
}

/// The lines with errors; where there are none, the last lines.
fn summary(lines: &VecDeque<String>) -> String {
    let names_error = |line: &&String| {
        let line = line.to_ascii_lowercase();
        line.contains("err") && !line.contains("a complete log of this run")
    };
    let mut chosen: Vec<&str> = lines.iter().filter(names_error).take(4).map(|line| line.trim()).collect();
    if chosen.is_empty() {
        chosen = lines.iter().rev().take(3).map(|line| line.trim()).collect();
        chosen.reverse();
    }
    chosen.join("; ")
}
