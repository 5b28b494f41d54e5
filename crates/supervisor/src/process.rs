//! Children in process groups of their own: a built-up environment, bounded output, a stop that leaves nothing behind.

mod command;
#[cfg(target_os = "linux")]
mod confine;
mod environment;
mod hide;
mod output;
#[cfg(target_os = "linux")]
mod strays;
mod user;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

pub use command::Command;
#[cfg(target_os = "linux")]
pub(crate) use confine::{can_isolate, confine};
pub use environment::Environment;
pub use hide::{become_unreadable, wipe_environment};
pub(crate) use output::Pipes;
pub use output::{MAX_LINE, MAX_LINES, OutputLine, Stream};
#[cfg(target_os = "linux")]
pub use strays::kill_strays;
#[cfg(target_os = "linux")]
pub(crate) use strays::living_children;
pub use user::{ProjectUser, UserError};

use crate::init::Exit;

/// How long a group may take to disappear after SIGKILL. Only a process stuck in the kernel takes longer.
pub const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long a pipe that some stray process still holds is waited for.
const REST_WAIT: Duration = Duration::from_millis(250);
/// Between two looks at whether a group is gone.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// A running child, leader of a process group of its own. Dropped while it runs, the group is killed.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    exit: Exit,
    output: mpsc::Receiver<OutputLine>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The leader's status; none where even SIGKILL did not end it within [`KILL_WAIT`].
    pub status: Option<ExitStatus>,
    /// SIGTERM was not enough.
    pub killed: bool,
}

impl Process {
    pub(crate) fn new(pid: Pid, exit: Exit, output: mpsc::Receiver<OutputLine>) -> Process {
        Process { pid, exit, output }
    }

    /// The process id, which is the group's id too.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// The leader's exit status. May be called again, and dropped halfway without loss.
    pub async fn wait(&mut self) -> ExitStatus {
        self.exit.wait().await
    }

    /// The next line that the group printed; none once nobody can print any more.
    pub async fn line(&mut self) -> Option<OutputLine> {
        self.output.recv().await
    }

    /// After a stop: what was printed until then, waiting for the pipes' ends for at most [`REST_WAIT`].
    pub async fn rest(&mut self, mut line: impl FnMut(OutputLine)) {
        let deadline = Instant::now() + REST_WAIT;
        while let Ok(Some(got)) = timeout_at(deadline, self.output.recv()).await {
            line(got);
        }
    }

    /// Either of the two, whichever comes first; lines go before the exit.
    pub async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            Some(line) = self.output.recv() => Next::Line(line),
            status = self.exit.wait() => Next::Exit(status),
        }
    }

    /// SIGTERM to the group, then SIGKILL after `grace`; returns once the whole group is gone. A leader that exited
    /// already leaves its group to be swept in the same way. May be dropped halfway.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        self.signal(Signal::TERM);
        let mut killed = false;
        if !self.gone(grace).await {
            killed = true;
            self.signal(Signal::KILL);
            self.gone(KILL_WAIT).await;
        }
        Stopped { status: self.exit.now(), killed }
    }

    /// Signals every process of the group.
    pub fn signal(&self, signal: Signal) {
        // The only errors are that nobody is left, and one of a process that changed its uid: neither has a remedy.
        let _ = kill_process_group(self.pid, signal);
    }

    async fn gone(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if self.exit.now().is_some() && !group_exists(self.pid) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(GROUP_POLL).await;
        }
    }
}

/// What [`Process::next`] saw.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Next {
    Line(OutputLine),
    Exit(ExitStatus),
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.now().is_none() || group_exists(self.pid) {
            self.signal(Signal::KILL);
        }
    }
}

/// Whether anyone, zombies included, is in the group.
fn group_exists(group: Pid) -> bool {
    !matches!(test_kill_process_group(group), Err(error) if io::Error::from(error).raw_os_error() == Some(ESRCH))
}

/// "No such process" on every Unix.
const ESRCH: i32 = 3;
