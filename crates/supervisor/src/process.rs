//! Child processes, each in its own session: an explicit environment, bounded output, a stop that leaves no process.

mod command;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod control_group;
#[cfg(target_os = "linux")]
mod descendants;
mod environment;
#[cfg(target_os = "linux")]
mod oom_score;
mod open_files;
mod output;
mod secrecy;
mod user;

use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

pub use command::Command;
#[cfg(target_os = "linux")]
pub(crate) use confine::{can_isolate, confine};
#[cfg(target_os = "linux")]
pub(crate) use control_group::ControlGroup;
#[cfg(target_os = "linux")]
pub use descendants::{ProcessTable, kill_strays};
pub use environment::Environment;
#[cfg(target_os = "linux")]
pub use oom_score::{CHILD_SCORE, protect_agent};
#[cfg(target_os = "linux")]
pub(crate) use oom_score::{raise_again, raise_own};
pub use open_files::raise_open_files_limit;
pub(crate) use open_files::{limit_at_start, lower_open_files_limit};
pub(crate) use output::Pipes;
pub use output::{MAX_LINE, MAX_LINES, OutputLine, Stream};
pub use secrecy::{become_unreadable, wipe_environment};
pub use user::{ProjectUser, UserError};

use crate::init::ChildExit;

/// How long processes may take to disappear after SIGKILL. Only a process that the kernel holds takes longer.
pub const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long the end of a pipe is waited for that another process still holds.
const REMAINING_LINES_WAIT: Duration = Duration::from_millis(250);
/// Time between two looks at whether a group has ended.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// A running child, leader of a session and a process group. Its group is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    exit: ChildExit,
    output: mpsc::Receiver<OutputLine>,
    #[cfg(target_os = "linux")]
    control_group: Option<ControlGroup>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The leader's status; none where not even SIGKILL ended it within [`KILL_WAIT`].
    pub status: Option<ExitStatus>,
    /// SIGTERM was not enough.
    pub killed: bool,
}

/// What [`Process::next`] returns.
#[derive(Debug)]
pub enum ChildEvent {
    /// A process of the group printed a line.
    Line(OutputLine),
    /// The leader ended.
    Exit(ExitStatus),
}

impl Process {
    pub(crate) fn new(pid: Pid, exit: ChildExit, output: mpsc::Receiver<OutputLine>) -> Process {
        Process {
            pid,
            exit,
            output,
            #[cfg(target_os = "linux")]
            control_group: None,
        }
    }

    /// The control group that the child was started in.
    #[cfg(target_os = "linux")]
    pub(crate) fn within(mut self, control_group: Option<ControlGroup>) -> Process {
        self.control_group = control_group;
        self
    }

    /// The process id, which is also the id of its group and its session.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// The leader's exit status. May be called again; nothing is lost where the future is dropped.
    pub async fn wait(&mut self) -> ExitStatus {
        self.exit.wait().await
    }

    /// The next line that a process of the group printed; none when no process can print any more.
    pub async fn line(&mut self) -> Option<OutputLine> {
        self.output.recv().await
    }

    /// After a stop: what was printed until then. Waits at most [`REMAINING_LINES_WAIT`] for the ends of the pipes.
    pub async fn remaining_lines(&mut self, mut line: impl FnMut(OutputLine)) {
        let deadline = crate::clock::from_now(REMAINING_LINES_WAIT);
        while let Ok(Some(got)) = timeout_at(deadline, self.output.recv()).await {
            line(got);
        }
    }

    /// The next line or the leader's exit; lines that are there come before the exit.
    pub async fn next(&mut self) -> ChildEvent {
        tokio::select! {
            biased;
            Some(line) = self.output.recv() => ChildEvent::Line(line),
            status = self.exit.wait() => ChildEvent::Exit(status),
        }
    }

    /// SIGTERM to the group, then SIGKILL after `grace`; returns when the whole group has ended, and every process that
    /// descended from the leader when the stop began. Also ends the group of a leader that has exited already. May be
    /// dropped before it is done.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        #[cfg(target_os = "linux")]
        let descendants = descendants::Marked::below(self.pid);
        self.signal(Signal::TERM);
        let mut killed = false;
        if !self.has_ended(grace).await {
            killed = true;
            self.signal(Signal::KILL);
            self.has_ended(KILL_WAIT).await;
        }
        #[cfg(target_os = "linux")]
        self.kill_escaped(descendants).await;
        Stopped { status: self.exit.now(), killed }
    }

    /// Raises the OOM scores of the child and the processes below it again, which may have lowered them.
    pub(crate) fn raise_oom_scores(&self) {
        #[cfg(target_os = "linux")]
        ProcessTable::read().tree(self.pid.as_raw_nonzero().get()).into_iter().for_each(raise_again);
    }

    /// Signals every process of the group.
    pub fn signal(&self, signal: Signal) {
        // It fails only where the group has ended, or where all of it changed to another user. Neither can be helped.
        let _ = kill_process_group(self.pid, signal);
    }

    /// What left the process group.
    #[cfg(target_os = "linux")]
    async fn kill_escaped(&self, descendants: descendants::Marked) {
        if let Some(group) = &self.control_group {
            group.kill(KILL_WAIT).await;
        }
        descendants.kill(KILL_WAIT).await;
    }

    async fn has_ended(&self, within: Duration) -> bool {
        let deadline = crate::clock::from_now(within);
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

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.now().is_none() || group_exists(self.pid) {
            #[cfg(target_os = "linux")]
            descendants::Marked::below(self.pid).kill_once();
            self.signal(Signal::KILL);
            #[cfg(target_os = "linux")]
            // It fails only where the group is gone.
            let _ = self.control_group.as_ref().map(ControlGroup::kill_once);
        }
    }
}

/// Whether a process is in the group, even one that has ended and was not waited for.
fn group_exists(group: Pid) -> bool {
    test_kill_process_group(group) != Err(Errno::SRCH)
}
