//! The processes below a process, whatever group or session they moved to.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::time::{Instant, sleep};

use crate::init::is_known;

/// Time between two looks at whether killed processes have ended.
const KILL_POLL: Duration = Duration::from_millis(5);

/// A process of [`ProcessTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    parent: i32,
    group: i32,
    /// In clock ticks since the system's start. Tells a process from a later one with the same id.
    started: u64,
}

/// The running processes at one moment, from /proc. Processes that have ended are left out.
#[derive(Debug, Default)]
pub struct ProcessTable(BTreeMap<i32, Row>);

impl ProcessTable {
    /// Reads the table. It is empty where there is no /proc.
    pub fn read() -> ProcessTable {
        let Ok(entries) = std::fs::read_dir("/proc") else { return ProcessTable::default() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ProcessTable(pids.filter_map(|pid| Some((pid, row(pid)?))).collect())
    }

    /// The processes whose parent is `pid`.
    pub fn children(&self, pid: i32) -> Vec<i32> {
        self.0.iter().filter(|(_, row)| row.parent == pid).map(|(pid, _)| *pid).collect()
    }

    /// `pid` and every process below it. A process whose parent ended has the agent as its parent, and is not found
    /// this way: see [`ProcessTable::strays`].
    pub fn tree(&self, pid: i32) -> Vec<i32> {
        self.trees([pid])
    }

    /// The processes that came to the agent when their parents ended, and every process below them. Children from
    /// before the agent (of a script that `exec`ed it) are not among them.
    pub fn strays(&self) -> Vec<i32> {
        let agent = getpid().as_raw_nonzero().get();
        self.trees(self.children(agent).into_iter().filter(|pid| !is_known(*pid)))
    }

    /// The processes of the group that `leader` leads, and every process below one of them or below `leader`.
    pub fn members(&self, leader: i32) -> Vec<i32> {
        let group = self.0.iter().filter(|(pid, row)| **pid == leader || row.group == leader);
        let mut members = self.trees(group.map(|(pid, _)| *pid));
        members.sort_unstable();
        members.dedup();
        members
    }

    fn trees(&self, roots: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let mut below: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, row) in &self.0 {
            below.entry(row.parent).or_default().push(*pid);
        }
        let mut found: Vec<i32> = roots.into_iter().filter(|pid| self.0.contains_key(pid)).collect();
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            // Taken out, so that no process is visited twice.
            found.extend(below.remove(&pid).unwrap_or_default());
            next = next.saturating_add(1);
        }
        found
    }
}

/// Processes that are to be killed, also after their parents have ended.
#[derive(Debug)]
pub(super) struct Marked(Vec<(i32, u64)>);

impl Marked {
    /// The processes below `pid` now, without `pid` itself.
    pub(super) fn below(pid: Pid) -> Marked {
        let pid = pid.as_raw_nonzero().get();
        let table = ProcessTable::read();
        let tree = table.tree(pid).into_iter().filter(|found| *found != pid);
        Marked(tree.filter_map(|pid| Some((pid, table.0.get(&pid)?.started))).collect())
    }

    /// Kills those that still run and what is below them, until none is left or the time is over.
    pub(super) async fn kill(self, within: Duration) {
        let deadline = crate::clock::from_now(within);
        while self.kill_once() > 0 && Instant::now() < deadline {
            sleep(KILL_POLL).await;
        }
    }

    /// Kills those that still run and what is below them. Returns how many there were.
    pub(super) fn kill_once(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let table = ProcessTable::read();
        let same = |(pid, started): &&(i32, u64)| table.0.get(pid).is_some_and(|row| row.started == *started);
        kill(table.trees(self.0.iter().filter(same).map(|(pid, _)| *pid)))
    }
}

/// Kills the processes that came to the agent when their parents ended, those below them, and those that come
/// meanwhile, for at most `within`. They left their process group, so that stopping it did not reach them. Returns how
/// many were killed.
pub async fn kill_strays(within: Duration) -> usize {
    let deadline = crate::clock::from_now(within);
    let mut killed = 0usize;
    loop {
        let strays = ProcessTable::read().strays();
        if strays.is_empty() {
            return killed;
        }
        if Instant::now() >= deadline {
            tracing::warn!(left = strays.len(), "processes that the dev server left could not be killed in time");
            return killed;
        }
        killed = killed.saturating_add(kill(strays));
        sleep(KILL_POLL).await;
    }
}

fn kill(pids: Vec<i32>) -> usize {
    let pids = pids.into_iter().filter_map(Pid::from_raw);
    // An error means that the process ended meanwhile.
    pids.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

/// None where the process has ended, or is a zombie.
fn row(pid: i32) -> Option<Row> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &[u8]) -> Option<Row> {
    // The name is in brackets and may hold any bytes, brackets too. The other fields follow the last bracket.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end..)?.strip_prefix(b")")?).ok()?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // The fields of proc(5) from the third on: state, ppid, ..., and starttime is the 22nd.
    let [state, parent, group, ..] = fields.as_slice() else { return None };
    if matches!(*state, "Z" | "X") {
        return None;
    }
    Some(Row { parent: parent.parse().ok()?, group: group.parse().ok()?, started: fields.get(19)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";

    #[test]
    fn names_with_brackets_and_zombies_are_handled() {
        let row = |state: &str| parse_stat(format!("5 (a) b) c) {state} 42 {REST}").as_bytes());
        assert_eq!(row("S"), Some(Row { parent: 42, group: 1, started: 777 }));
        assert_eq!(row("Z"), None);
        assert_eq!(parse_stat(b"5 (x"), None);
        assert_eq!(parse_stat(b"5 (x) S"), None);
    }

    #[test]
    fn tree_holds_each_process_below_once() {
        let processes = [(1, 0, 1), (2, 1, 2), (3, 2, 2), (4, 2, 4), (5, 1, 2)];
        let rows = processes.map(|(pid, parent, group)| (pid, Row { parent, group, started: 0 }));
        let table = ProcessTable(rows.into());
        assert_eq!(table.tree(2), [2, 3, 4]);
        assert_eq!(table.tree(9), [0; 0]);
        assert_eq!(table.members(2), [2, 3, 4, 5], "an orphan of the group too");
        assert_eq!(table.children(1), [2, 5]);
    }

    #[test]
    fn own_process_is_in_the_table() {
        let own = std::process::id().cast_signed();
        assert!(ProcessTable::read().0.contains_key(&own));
    }
}
