//! A control group for each child, where the agent may make one: it holds every process that descends from the child,
//! whatever session, group or parent they moved to, and kills them in one step.
//!
//! Needs cgroup v2, mounted writable, and Linux 5.14. In most containers it is read-only; then the processes are found
//! by descent (see `descendants`).

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::time::{Instant, sleep};

/// Time between two looks at whether the group is empty.
const EMPTY_POLL: Duration = Duration::from_millis(5);

/// A control group of one child. It is removed when this is dropped, where it is empty then.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    dir: PathBuf,
    entry: Arc<OwnedFd>,
}

/// The way into a [`ControlGroup`], for use between fork and exec.
#[derive(Debug, Clone)]
pub(crate) struct GroupEntry(Arc<OwnedFd>);

impl ControlGroup {
    /// Makes a group below the agent's own. None where the agent may not, or the system has no such groups.
    pub(crate) fn create() -> Option<ControlGroup> {
        let dir = own_group()?.join(format!("preview-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).ok()?;
        let entry = openat(CWD, dir.join("cgroup.procs"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        match entry {
            Ok(entry) if dir.join("cgroup.kill").exists() => Some(ControlGroup { dir, entry: Arc::new(entry) }),
            _ => {
                // It is empty, so that it can be removed.
                let _ = std::fs::remove_dir(&dir);
                None
            }
        }
    }

    pub(crate) fn entry(&self) -> GroupEntry {
        GroupEntry(self.entry.clone())
    }

    /// Kills every process of the group, and waits until it is empty, for at most `within`.
    pub(crate) async fn kill(&self, within: Duration) {
        let deadline = crate::clock::from_now(within);
        while self.kill_once().is_ok() && !self.is_empty() && Instant::now() < deadline {
            sleep(EMPTY_POLL).await;
        }
    }

    pub(crate) fn kill_once(&self) -> io::Result<()> {
        std::fs::write(self.dir.join("cgroup.kill"), "1")
    }

    fn is_empty(&self) -> bool {
        let events = std::fs::read_to_string(self.dir.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 0")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A group with processes stays; nothing in it outlives the container.
        let _ = std::fs::remove_dir(&self.dir);
    }
}

impl GroupEntry {
    /// Moves the calling process into the group. It makes system calls only. The descendants cannot leave the group:
    /// its files belong to root.
    pub(crate) fn enter(&self) {
        // Without the group, the processes are found by descent.
        let _ = rustix::io::write(&self.0, b"0");
    }
}

/// The directory of the agent's own group.
fn own_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    group_directory(&groups, &mounts)
}

fn group_directory(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // proc(5): id, parent, device, root, mount point, options, ..., a dash, type, source, options.
        let (fields, kind) = line.split_once(" - ")?;
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_group_is_found_in_both_hierarchies() {
        let mount = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(group_directory("4:memory:/x\n0::/\n", mount), Some("/sys/fs/cgroup/unified/".into()));
        let mount = "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(group_directory("0::/app.slice/a\n", mount), Some("/sys/fs/cgroup/app.slice/a".into()));
        let mount = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(group_directory("0::/docker/1\n", mount), Some("/sys/fs/cgroup/".into()));
        assert_eq!(group_directory("0::/other\n", mount), None);
        assert_eq!(group_directory("4:memory:/x\n", mount), None);
    }
}
