use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};

use rustix::process::{Pid, WaitOptions};
use tokio::sync::watch;

use crate::process::Pipes;

/// Children that somebody awaits, by pid. One table for the whole program, since `wait` is the whole program's too.
/// The lock is held from fork to registration and around each `wait`: a child that ends at once is found all the same,
/// and a pid cannot be given anew between the two.
static AWAITED: Mutex<BTreeMap<i32, watch::Sender<Option<ExitStatus>>>> = Mutex::new(BTreeMap::new());

/// Children reaped in one go before other tasks get their turn, so that a flood of orphans cannot hold the agent up.
const BATCH: usize = 256;

/// What a wait says of a child whose status somebody outside this module took.
const STOLEN: i32 = 255 << 8;

/// The exit status of one child, there as soon as it is reaped.
#[derive(Debug, Clone)]
pub struct Exit(watch::Receiver<Option<ExitStatus>>);

impl Exit {
    /// Waits for the end. May be dropped halfway without loss.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = self.0.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.unwrap_or(ExitStatus::from_raw(STOLEN))
    }

    /// The status, where the child has ended.
    pub fn now(&self) -> Option<ExitStatus> {
        let stolen = self.0.has_changed().is_err() && self.0.borrow().is_none();
        if stolen { Some(ExitStatus::from_raw(STOLEN)) } else { *self.0.borrow() }
    }
}

/// Forks, and registers the child before anyone can reap it.
pub(super) fn spawn(mut command: Command) -> io::Result<(Pid, Exit, Pipes)> {
    let mut awaited = lock();
    let mut child = command.spawn()?;
    let (sender, receiver) = watch::channel(None);
    awaited.insert(child.id().cast_signed(), sender);
    drop(awaited);
    let pid = Pid::from_child(&child);
    Ok((pid, Exit(receiver), Pipes { stdout: child.stdout.take(), stderr: child.stderr.take() }))
}

/// Children that the program had when it became an init: not ours to stop.
#[cfg(target_os = "linux")]
static INHERITED: std::sync::OnceLock<Vec<i32>> = std::sync::OnceLock::new();

/// Takes note of the children that are there already; only the first call counts.
#[cfg(target_os = "linux")]
pub(super) fn note_inherited() {
    INHERITED.get_or_init(|| {
        let awaited = lock();
        crate::process::living_children().into_iter().filter(|pid| !awaited.contains_key(pid)).collect()
    });
}

/// Whether `pid` was spawned here and is not reaped yet, or was there before.
#[cfg(target_os = "linux")]
pub(crate) fn is_known(pid: i32) -> bool {
    INHERITED.get().is_some_and(|inherited| inherited.contains(&pid)) || lock().contains_key(&pid)
}

/// Reaps what has ended; true where there may be more.
#[expect(clippy::disallowed_methods, reason = "the one place that waits for children")]
pub(super) fn reap() -> bool {
    let mut awaited = lock();
    for _ in 0..BATCH {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(sender) = awaited.remove(&pid.as_raw_nonzero().get()) {
                    sender.send_replace(Some(ExitStatus::from_raw(status.as_raw())));
                }
            }
            Ok(None) => return false,
            Err(rustix::io::Errno::INTR) => {}
            // No children at all: whoever is still awaited was waited for by someone else.
            Err(_) => {
                awaited.clear();
                return false;
            }
        }
    }
    true
}

fn lock() -> MutexGuard<'static, BTreeMap<i32, watch::Sender<Option<ExitStatus>>>> {
    AWAITED.lock().expect("nothing panics while this is held")
}
