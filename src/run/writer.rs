use std::collections::VecDeque;

use sync_core::{BatchId, Content, Op, Outcome, ProjectPath, Written};
use tokio::task::JoinHandle;

use crate::workspace::Workspace;

use super::reminders::Reminders;

/// A batch up to this size is written where it stands: handing it to a thread and back costs more than the writing.
const INLINE_OPS: usize = 8;
/// As [`INLINE_OPS`], in bytes of content.
const INLINE_BYTES: usize = 256 * 1024;

/// Carries out batches in their order, one at a time.
#[derive(Debug, Default)]
pub(super) struct Writer {
    state: State,
    queue: VecDeque<(BatchId, Vec<Op>)>,
    reminders: Reminders,
}

#[derive(Debug, Default)]
enum State {
    /// The workspace is still being hydrated.
    #[default]
    Waiting,
    Idle(Workspace),
    Writing(JoinHandle<(Workspace, BatchId, Vec<Written>)>),
}

impl Writer {
    pub(super) fn start(&mut self, workspace: Workspace) {
        self.state = State::Idle(workspace);
    }

    pub(super) fn write(&mut self, batch: BatchId, ops: Vec<Op>) {
        self.queue.push_back((batch, ops));
    }

    pub(super) fn busy(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Writing(_))
    }

    /// The next batch that is done. Pending while there is none; cancel safe: a batch under way stays in `state`.
    pub(super) async fn next(&mut self) -> (BatchId, Vec<Written>) {
        if let State::Idle(workspace) = &mut self.state
            && let Some((batch, ops)) = self.queue.pop_front()
        {
            if is_small(&ops) {
                let written = workspace.apply(ops);
                self.reminders.note(&written);
                return (batch, written);
            }
            let State::Idle(mut workspace) = std::mem::take(&mut self.state) else { unreachable!("it was idle") };
            self.state = State::Writing(tokio::task::spawn_blocking(move || {
                let written = workspace.apply(ops);
                (workspace, batch, written)
            }));
        }
        match &mut self.state {
            State::Writing(task) => match task.await {
                Ok((workspace, batch, written)) => {
                    self.state = State::Idle(workspace);
                    self.reminders.note(&written);
                    (batch, written)
                }
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            State::Idle(workspace) => self.reminders.remind(workspace).await,
            State::Waiting => std::future::pending().await,
        }
    }
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
pub(super) fn changed(written: &[Written]) -> Vec<ProjectPath> {
    let changed = |written: &&Written| matches!(written.outcome, Outcome::Changed { .. });
    written.iter().filter(changed).map(|written| written.path.clone()).collect()
}
