use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};

use rustix::process::{Pid, WaitOptions};
use tokio::sync::watch;

use crate::process::Pipes;

/// Children whose status is awaited, by pid. There is one table, because `wait` reports children of the whole program.
/// The lock is held from fork to registration and around each `wait`: so a child that ends at once is found, and a pid
/// is not used again between the two.
static AWAITED: Mutex<BTreeMap<i32, watch::Sender<Option<ExitStatus>>>> = Mutex::new(BTreeMap::new());

/// Children that are reaped before other tasks run, so that very many orphans do not delay the agent.
const BATCH: usize = 256;

/// The status of a child that something outside of this module waited for: exit status 255.
const LOST_STATUS: i32 = 255 << 8;

/// The exit status of one child, known as soon as it is reaped.
#[derive(Debug, Clone)]
pub struct ChildExit(watch::Receiver<Option<ExitStatus>>);

impl ChildExit {
    /// Waits for the end. Nothing is lost where the future is dropped.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = self.0.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.unwrap_or(ExitStatus::from_raw(LOST_STATUS))
    }

    /// The status, where the child has ended.
    pub fn now(&self) -> Option<ExitStatus> {
        let lost = self.0.has_changed().is_err() && self.0.borrow().is_none();
        if lost { Some(ExitStatus::from_raw(LOST_STATUS)) } else { *self.0.borrow() }
    }
}

/// Forks, and registers the child before it can be reaped.
pub(super) fn spawn(mut command: Command) -> io::Result<(Pid, ChildExit, Pipes)> {
    let mut awaited = lock();
    let mut child = command.spawn()?;
    let (sender, receiver) = watch::channel(None);
    awaited.insert(child.id().cast_signed(), sender);
    drop(awaited);
    let pid = Pid::from_child(&child);
    Ok((pid, ChildExit(receiver), Pipes { stdout: child.stdout.take(), stderr: child.stderr.take() }))
}

/// Children that the program had before this module was started. The agent does not stop them.
#[cfg(target_os = "linux")]
static INHERITED: std::sync::OnceLock<Vec<i32>> = std::sync::OnceLock::new();

/// Records the children that exist already. Only the first call counts.
#[cfg(target_os = "linux")]
pub(super) fn note_inherited() {
    INHERITED.get_or_init(|| {
        let ours = rustix::process::getpid().as_raw_nonzero().get();
        let awaited = lock();
        crate::process::ProcessTable::read()
            .children(ours)
            .into_iter()
            .filter(|pid| !awaited.contains_key(pid))
            .collect()
    });
}

/// Whether `pid` was started here and was not reaped yet, or existed before.
#[cfg(target_os = "linux")]
pub(crate) fn is_known(pid: i32) -> bool {
    INHERITED.get().is_some_and(|inherited| inherited.contains(&pid)) || lock().contains_key(&pid)
}

/// Whether [`reap`] has to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    All,
    MaybeMore,
}

/// Reaps children that have ended, at most [`BATCH`].
#[expect(clippy::disallowed_methods, reason = "the one place that waits for children")]
pub(super) fn reap() -> Reaped {
    let mut awaited = lock();
    for _ in 0..BATCH {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(sender) = awaited.remove(&pid.as_raw_nonzero().get()) {
                    sender.send_replace(Some(ExitStatus::from_raw(status.as_raw())));
                }
            }
            Ok(None) => return Reaped::All,
            Err(rustix::io::Errno::INTR) => {}
            // There is no child at all: those in the table were waited for elsewhere.
            Err(_) => {
                awaited.clear();
                return Reaped::All;
            }
        }
    }
    Reaped::MaybeMore
}

fn lock() -> MutexGuard<'static, BTreeMap<i32, watch::Sender<Option<ExitStatus>>>> {
    AWAITED.lock().expect("nothing panics while this is held")
}
