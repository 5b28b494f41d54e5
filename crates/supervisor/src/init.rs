//! Signals, and the only place that waits for children.

mod children;
mod signals;

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub use children::Exit;
#[cfg(target_os = "linux")]
pub(crate) use children::is_known;
pub use signals::{Shutdown, Signals};

use crate::process::{Command, OutputLine, Process, ProjectUser};

/// Lines that wait to be read; what comes on top is dropped and counted.
const MAX_LINES: usize = 256;

/// Spawns children and hands out signals. Waits for every child of the program, so nothing else in it may: a
/// `std::process::Child` spawned elsewhere loses its status.
#[derive(Debug, Clone)]
pub struct Init {
    signals: Signals,
    user: Option<ProjectUser>,
}

impl Init {
    /// Installs the signal handlers, becomes a child subreaper (Linux), and starts the task that reaps. Needs a Tokio
    /// runtime, and runs as long as that does. Fails where a handler cannot be installed.
    pub fn start() -> io::Result<Init> {
        let signals = Signals::listen()?;
        let mut child_ended = signal(SignalKind::child())?;
        #[cfg(target_os = "linux")]
        children::note_inherited();
        adopt_orphans();
        tokio::spawn(async move {
            loop {
                while children::reap() {
                    tokio::task::yield_now().await;
                }
                if child_ended.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(Init { signals, user: None })
    }

    /// From now on children run as `user`, where the agent has the rights for that: it is root with SETUID, SETGID,
    /// CHOWN, KILL and DAC_OVERRIDE. Whether it has.
    pub fn isolate(&mut self, user: &ProjectUser) -> bool {
        #[cfg(target_os = "linux")]
        let can = crate::process::can_isolate();
        #[cfg(not(target_os = "linux"))]
        let can = false;
        self.user = can.then(|| user.clone());
        can
    }

    /// The user that children run as, where it is another one.
    pub fn user(&self) -> Option<&ProjectUser> {
        self.user.as_ref()
    }

    /// Starts `command` in a process group of its own. It has no capability, can gain none, and ends with us (Linux).
    /// Errors are those of fork and exec, naming the program.
    pub fn spawn(&self, command: Command) -> io::Result<Process> {
        let (lines, output) = mpsc::channel::<OutputLine>(MAX_LINES);
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut))]
        let mut command = command.into_std();
        #[cfg(target_os = "linux")]
        crate::process::confine(&mut command, self.user.as_ref());
        let (pid, exit, pipes) = children::spawn(command)?;
        #[cfg(target_os = "linux")]
        prefer_for_oom(pid);
        pipes.read_into(lines)?;
        Ok(Process::new(pid, exit, output))
    }

    /// The signals that ask for an end, those that came before the call included.
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }
}

/// When memory runs out, a child is to go before us. It hands the score on to whatever it starts.
#[cfg(target_os = "linux")]
fn prefer_for_oom(child: rustix::process::Pid) {
    const SCORE: &str = "500";
    // A child that has ended already needs none; raising it needs no right.
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.as_raw_nonzero()), SCORE);
}

/// Processes whose parent died come to us rather than to PID 1, so that they can be reaped, and stopped.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "cannot become a child subreaper; orphans of the dev server go to PID 1");
    }
}
