use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use sync_core::{BatchId, Content, LocalChange, Op, OpResult, Outcome, ProjectPath};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::sync::workspace::{Workspace, WorkspaceError};

use super::reminders::Reminders;

/// A batch up to this size is written where it stands: handing it to a thread and back costs more than the writing.
const INLINE_OPS: usize = 8;
/// As [`INLINE_OPS`], in bytes of content.
const INLINE_BYTES: usize = 256 * 1024;
/// Between two looks for local changes, of a few paths each.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Files that somebody else touched are read no faster than this, in bytes per second over all looks.
const LOOK_RATE: u64 = 16 << 20;

/// Carries out what is asked of the workspace in its order, one at a time, and looks for local changes in between.
#[derive(Debug)]
pub(super) struct Writer {
    state: State,
    queue: VecDeque<Task>,
    reminders: Reminders,
    /// When to look next.
    look: Instant,
}

#[derive(Debug)]
enum Task {
    Write(BatchId, Vec<Op>),
    Quarantine(BTreeSet<ProjectPath>),
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Written(BatchId, Vec<OpResult>),
    /// Files that hold something else than the agent put there.
    Looked(Vec<LocalChange>),
    /// So many files were put aside.
    Quarantine(Result<usize, WorkspaceError>),
}

#[derive(Debug, Default)]
enum State {
    /// The workspace is still being hydrated.
    #[default]
    Waiting,
    Idle(Workspace),
    Busy(JoinHandle<(Workspace, Done)>),
    /// As `Busy`, with files to read.
    Looking(JoinHandle<(Workspace, Vec<LocalChange>, u64)>),
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            state: State::Waiting,
            queue: VecDeque::new(),
            reminders: Reminders::default(),
            look: Instant::now() + LOOK_EVERY,
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

    /// Puts everything aside that could be of the database and is not named.
    pub(super) fn quarantine_all_except(&mut self, wanted: BTreeSet<ProjectPath>) {
        self.queue.push_back(Task::Quarantine(wanted));
    }

    pub(super) fn busy(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Busy(_))
    }

    /// The next thing that is done. Pending while there is none; cancel safe: what is under way stays in `state`.
    pub(super) async fn next(&mut self) -> Done {
        loop {
            if let Some(done) = self.begin() {
                return done;
            }
            match &mut self.state {
                State::Waiting => return std::future::pending().await,
                State::Idle(workspace) => {
                    tokio::select! {
                        never = self.reminders.remind(workspace) => return never,
                        () = sleep_until(self.look) => self.look(),
                    }
                }
                State::Busy(task) => {
                    let (workspace, done) = ended(task.await);
                    self.state = State::Idle(workspace);
                    if let Done::Written(_, written) = &done {
                        self.reminders.note(written);
                    }
                    return done;
                }
                State::Looking(task) => {
                    let (workspace, changes, bytes) = ended(task.await);
                    self.state = State::Idle(workspace);
                    let pause = Duration::from_millis(bytes * 1_000 / LOOK_RATE);
                    self.look = Instant::now() + LOOK_EVERY.max(pause);
                    if !changes.is_empty() {
                        return Done::Looked(changes);
                    }
                }
            }
        }
    }

    /// Begins the next task, if the workspace is free; answers what is done already.
    fn begin(&mut self) -> Option<Done> {
        let State::Idle(workspace) = &mut self.state else { return None };
        let task = match self.queue.pop_front()? {
            Task::Write(batch, ops) if is_small(&ops) => {
                let written = workspace.apply(ops);
                self.reminders.note(&written);
                return Some(Done::Written(batch, written));
            }
            task => task,
        };
        let State::Idle(mut workspace) = std::mem::take(&mut self.state) else { unreachable!("it was idle") };
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let done = match task {
                Task::Write(batch, ops) => Done::Written(batch, workspace.apply(ops)),
                Task::Quarantine(wanted) => Done::Quarantine(workspace.quarantine_all_except(&wanted)),
            };
            (workspace, done)
        }));
        None
    }

    /// Looks at a few paths here; what has to be read is read by a thread.
    fn look(&mut self) {
        self.look = Instant::now() + LOOK_EVERY;
        let State::Idle(workspace) = &mut self.state else { return };
        let suspects = workspace.changed_stamps();
        if suspects.is_empty() {
            return;
        }
        let State::Idle(mut workspace) = std::mem::take(&mut self.state) else { unreachable!("it was idle") };
        self.state = State::Looking(tokio::task::spawn_blocking(move || {
            let (changes, bytes) = workspace.read_changed(suspects);
            (workspace, changes, bytes)
        }));
    }
}

fn ended<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    joined.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

fn is_small(ops: &[Op]) -> bool {
    let bytes = |op: &Op| match op {
        Op::Write { content: Content::Bytes(bytes), .. } => bytes.len(),
        // Comparing with what stands there may read any amount.
        Op::Write { content: Content::Staged(_), .. } => INLINE_BYTES,
        Op::Delete { .. } => 0,
    };
    ops.len() <= INLINE_OPS && ops.iter().map(bytes).sum::<usize>() < INLINE_BYTES
}

/// The paths that are not what they were.
pub(super) fn changed(written: &[OpResult]) -> Vec<ProjectPath> {
    let changed = |written: &&OpResult| matches!(written.outcome, Outcome::Changed { .. });
    written.iter().filter(changed).map(|written| written.path.clone()).collect()
}
