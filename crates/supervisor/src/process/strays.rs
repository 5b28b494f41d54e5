use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::time::{Instant, sleep};

use crate::init::is_known;

/// Kills the processes that came to us when their parents died, and those that come while we do, for at most `within`.
/// They left their process group, so stopping that did not reach them. Children from before the agent (of a script that
/// `exec`ed it) are none of its business. Returns how many were killed.
pub async fn kill_strays(within: Duration) -> usize {
    let deadline = Instant::now() + within;
    let mut killed = 0;
    loop {
        let strays = strays();
        if strays.is_empty() || Instant::now() >= deadline {
            return killed;
        }
        // An error means that it ended meanwhile.
        killed += strays.into_iter().filter(|stray| kill_process(*stray, Signal::KILL).is_ok()).count();
        sleep(Duration::from_millis(5)).await;
    }
}

fn strays() -> Vec<Pid> {
    living_children().into_iter().filter(|pid| !is_known(*pid)).filter_map(Pid::from_raw).collect()
}

/// Our children that run, whoever spawned them.
pub(crate) fn living_children() -> Vec<i32> {
    let ours = getpid().as_raw_nonzero().get();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_living_child(*pid, ours)).collect()
}

fn is_living_child(pid: i32, parent: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    // The name stands in brackets and may hold anything; state and parent follow the last one.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let mut fields = stat[end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let alive = !matches!(fields.next(), Some(b"Z" | b"X") | None);
    alive && fields.next().is_some_and(|field| field == parent.to_string().as_bytes())
}
