//! Runs the tasks of the workspace, one at a time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use sync_core::{BatchId, Content, LocalChange, Op, OpResult, Outcome, ProjectPath};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::sync::workspace::{ReadChanges, Workspace, WorkspaceError};

use super::live::propagate_panic;
use super::reminders::Reminders;

/// A batch up to this size is written in the loop: moving it to a thread and back costs more than the writing.
const INLINE_OPS: usize = 8;
/// As [`INLINE_OPS`], in bytes of content.
const INLINE_BYTES: usize = 256 * 1024;
/// The time between two scans for local changes, of a few paths each.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// Files with a changed stamp are read at most at this rate, in bytes per second over all scans.
const SCAN_RATE: u64 = 16 << 20;

/// Runs the workspace's tasks in their order, one at a time, and scans for local changes in between.
#[derive(Debug)]
pub(super) struct Writer {
    state: State,
    queue: VecDeque<Task>,
    reminders: Reminders,
    /// When the next scan is due.
    next_scan: Instant,
}

#[derive(Debug)]
enum Task {
    Write(BatchId, Vec<Op>),
    Quarantine(BTreeSet<ProjectPath>),
}

/// A task or a scan that has ended.
#[derive(Debug)]
pub(super) enum WriterEvent {
    Written(BatchId, Vec<OpResult>),
    /// Files whose content is no longer what the agent wrote.
    LocalChanges(Vec<LocalChange>),
    /// The number of files that were moved to quarantine.
    Quarantined(Result<usize, WorkspaceError>),
}

#[derive(Debug, Default)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
enum State {
    /// The workspace is still being hydrated.
    #[default]
    Waiting,
    Idle(Workspace),
    Busy(JoinHandle<(Workspace, WriterEvent)>),
    /// Reads files with a changed stamp.
    Scanning(JoinHandle<(Workspace, ReadChanges)>),
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            state: State::Waiting,
            queue: VecDeque::new(),
            reminders: Reminders::default(),
            next_scan: Instant::now() + SCAN_INTERVAL,
        }
    }
}

impl Writer {
    pub(super) fn start(&mut self, workspace: Workspace) {
        self.state = State::Idle(workspace);
    }

    pub(super) fn write(&mut self, batch: BatchId, ops: Vec<Op>) {
        self.queue.push_back(Task::Write(batch, ops));
    }

    /// Moves every file that could be the database's and is not in `wanted` to quarantine.
    pub(super) fn quarantine_all_except(&mut self, wanted: BTreeSet<ProjectPath>) {
        self.queue.push_back(Task::Quarantine(wanted));
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Busy(_))
    }

    /// The end of the next task or scan. Cancel safe: what is running stays in `state`.
    pub(super) async fn next(&mut self) -> WriterEvent {
        loop {
            if let Some(event) = self.begin() {
                return event;
            }
            match &mut self.state {
                State::Waiting => return std::future::pending().await,
                State::Idle(workspace) => {
                    tokio::select! {
                        never = self.reminders.run(workspace) => return never,
                        () = sleep_until(self.next_scan) => self.scan(),
                    }
                }
                State::Busy(task) => {
                    let (workspace, event) = propagate_panic(task.await);
                    self.state = State::Idle(workspace);
                    if let WriterEvent::Written(_, written) = &event {
                        self.reminders.note(written);
                    }
                    return event;
                }
                State::Scanning(task) => {
                    let (workspace, ReadChanges { changes, bytes }) = propagate_panic(task.await);
                    self.state = State::Idle(workspace);
                    let pause = Duration::from_millis(bytes.saturating_mul(1_000) / SCAN_RATE);
                    self.next_scan = Instant::now() + SCAN_INTERVAL.max(pause);
                    if !changes.is_empty() {
                        return WriterEvent::LocalChanges(changes);
                    }
                }
            }
        }
    }

    /// Begins the next task, if the workspace is free. Returns the result of one that was small enough to run here.
    fn begin(&mut self) -> Option<WriterEvent> {
        let State::Idle(workspace) = &mut self.state else { return None };
        let task = match self.queue.pop_front()? {
            Task::Write(batch, ops) if is_small(&ops) => {
                let written = workspace.apply(ops);
                self.reminders.note(&written);
                return Some(WriterEvent::Written(batch, written));
            }
            task => task,
        };
        let State::Idle(mut workspace) = std::mem::take(&mut self.state) else { unreachable!("it was idle") };
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let event = match task {
                Task::Write(batch, ops) => WriterEvent::Written(batch, workspace.apply(ops)),
                Task::Quarantine(wanted) => WriterEvent::Quarantined(workspace.quarantine_all_except(&wanted)),
            };
            (workspace, event)
        }));
        None
    }

    /// Compares the stamps of a few paths; a thread reads the files where they differ.
    fn scan(&mut self) {
        self.next_scan = Instant::now() + SCAN_INTERVAL;
        let State::Idle(workspace) = &mut self.state else { return };
        if workspace.changed_stamps().is_empty() {
            return;
        }
        let State::Idle(mut workspace) = std::mem::take(&mut self.state) else { unreachable!("it was idle") };
        self.state = State::Scanning(tokio::task::spawn_blocking(move || {
            let read = workspace.read_changed();
            (workspace, read)
        }));
    }
}

fn is_small(ops: &[Op]) -> bool {
    let bytes = |op: &Op| match op {
        Op::Write { content: Content::Bytes(bytes), .. } => bytes.len(),
        // Comparing with the file on disk may read any amount.
        Op::Write { content: Content::Staged(_), .. } => INLINE_BYTES,
        Op::Delete { .. } => 0,
    };
    ops.len() <= INLINE_OPS && ops.iter().map(bytes).sum::<usize>() < INLINE_BYTES
}

/// The paths whose content has changed.
pub(super) fn changed(written: &[OpResult]) -> Vec<ProjectPath> {
    let changed = |written: &&OpResult| matches!(written.outcome, Outcome::Changed { .. });
    written.iter().filter(changed).map(|written| written.path.clone()).collect()
}
