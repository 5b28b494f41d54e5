//! Signals, and the only place that waits for children.

mod children;
mod signals;

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub use children::ChildExit;
#[cfg(target_os = "linux")]
pub(crate) use children::is_known;
pub use signals::{Shutdown, Signals};

use crate::process::{Command, OutputLine, Process, ProjectUser};

/// Lines of one child that wait to be read. Further lines are dropped and counted.
const MAX_WAITING_LINES: usize = 256;

/// Starts children and reports signals. It waits for every child of the program, so nothing else in the program may: a
/// `std::process::Child` that was started elsewhere loses its status.
#[derive(Debug, Clone)]
pub struct Init {
    signals: Signals,
    user: Option<ProjectUser>,
}

impl Init {
    /// Installs the signal handlers, becomes a child subreaper and lowers its own OOM score (Linux), and starts the task
    /// that waits for children. Needs a Tokio runtime, and works as long as that runs.
    ///
    /// # Errors
    /// A signal handler that cannot be installed.
    pub fn start() -> io::Result<Init> {
        let signals = Signals::listen()?;
        let mut child_ended = signal(SignalKind::child())?;
        #[cfg(target_os = "linux")]
        {
            children::note_inherited();
            adopt_orphans();
            crate::process::protect_agent();
        }
        tokio::spawn(async move {
            loop {
                while children::reap() == children::Reaped::MaybeMore {
                    tokio::task::yield_now().await;
                }
                if child_ended.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(Init { signals, user: None })
    }

    /// From now on children run as `user`, where the agent has the rights for that: root with SETUID, SETGID, CHOWN,
    /// KILL and DAC_OVERRIDE. Returns whether it has.
    pub fn isolate(&mut self, user: &ProjectUser) -> bool {
        #[cfg(target_os = "linux")]
        let possible = crate::process::can_isolate();
        #[cfg(not(target_os = "linux"))]
        let possible = false;
        self.user = possible.then(|| user.clone());
        possible
    }

    /// The user that children run as, where it is another one than the agent's.
    pub fn user(&self) -> Option<&ProjectUser> {
        self.user.as_ref()
    }

    /// Starts `command` in its own session. On Linux it has no capability, cannot gain any, and is killed when the
    /// agent ends.
    ///
    /// # Errors
    /// What fork and exec returned, and what entering the command's directory returned.
    pub fn spawn(&self, command: Command) -> io::Result<Process> {
        let (lines, output) = mpsc::channel::<OutputLine>(MAX_WAITING_LINES);
        let (mut command, dir) = command.into_std();
        #[cfg(target_os = "linux")]
        let group = crate::process::ControlGroup::create();
        #[cfg(target_os = "linux")]
        crate::process::confine(&mut command, self.user.as_ref(), dir, group.as_ref().map(|group| group.entry()));
        #[cfg(not(target_os = "linux"))]
        Command::enter_session(&mut command, dir);
        let (pid, exit, pipes) = children::spawn(command)?;
        pipes.read_into(lines)?;
        let process = Process::new(pid, exit, output);
        #[cfg(target_os = "linux")]
        let process = process.within(group);
        Ok(process)
    }

    /// The signals that ask the agent to end, including those that came before this call.
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }
}

/// Processes whose parent ended become children of the agent and not of process 1, so that it can stop and reap them.
#[cfg(target_os = "linux")]
fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "cannot become a child subreaper; orphans of the dev server go to process 1");
    }
}
