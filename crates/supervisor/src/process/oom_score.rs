//! Which process the kernel kills first when memory runs out: the dev server, not the agent.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The `oom_score_adj` of children: 500 means half of all memory on top of what they use.
pub const CHILD_SCORE: i32 = 500;
const CHILD_SCORE_TEXT: &[u8] = b"500";
/// What the agent asks for itself, the best first. Lower than the value it was started with needs SYS_RESOURCE.
const AGENT_SCORES: [i32; 3] = [-500, -100, 0];

/// Lowers the agent's own score as far as the system allows, and returns the score; none where there is no /proc.
/// To be called before the first child is started.
pub fn protect_agent() -> Option<i32> {
    let path = Path::new("/proc/self/oom_score_adj");
    let read = || std::fs::read_to_string(path).ok()?.trim().parse::<i32>().ok();
    let now = read()?;
    for score in AGENT_SCORES.into_iter().filter(|score| *score < now) {
        if std::fs::write(path, score.to_string()).is_ok() {
            break;
        }
    }
    read()
}

/// Raises the calling process's score. It runs between fork and exec, while the agent's capabilities are still there:
/// a score that was set with SYS_RESOURCE cannot be lowered without it.
pub(crate) fn raise_own() {
    let opened = openat(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    // Without it the kernel chooses by the memory in use, which is the dev server's most of the time.
    let _ = opened.map(|file| rustix::io::write(file, CHILD_SCORE_TEXT));
}

/// Raises the score of a child again: where the agent has no SYS_RESOURCE, a child may have lowered it.
pub(crate) fn raise_again(pid: i32) {
    let path = format!("/proc/{pid}/oom_score_adj");
    let lowered = std::fs::read_to_string(&path)
        .is_ok_and(|score| score.trim().parse::<i32>().is_ok_and(|score| score < CHILD_SCORE));
    if lowered {
        // A process that has ended meanwhile needs no score.
        let _ = std::fs::write(&path, CHILD_SCORE_TEXT);
    }
}
