/// How often the kernel has killed a process of our control group because memory ran out. None where the system does not
/// count them. Reads cgroup v2 (`memory.events`) and v1 (`memory.oom_control`).
pub(super) fn oom_kills() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    candidates(&groups).iter().find_map(|path| count(&std::fs::read_to_string(path).ok()?))
}

/// The files that may hold the count, the most exact one first. In a container the path in /proc may be the host's,
/// while what is mounted is the container's own group.
fn candidates(groups: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.oom_control"),
            _ => continue,
        };
        let path = path.trim_end_matches('/');
        paths.push(format!("{mount}{path}/{file}"));
        paths.push(format!("{mount}/{file}"));
    }
    paths
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_are_read() {
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(candidates("0::/\n"), ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory.events"]);
        assert_eq!(
            candidates("4:memory:/pod/x\n3:cpu,cpuacct:/pod/x\n"),
            ["/sys/fs/cgroup/memory/pod/x/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
    }
}
