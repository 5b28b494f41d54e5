//! Memory, processor time and open files, read from `/proc` and the control group. Only Linux has them.

use std::fmt::Write;
use std::fs;

/// Where the control group's files are, by version: the memory in use, and the limit.
const CGROUP_MEMORY: [[&str; 2]; 2] = [
    ["/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max"],
    ["/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"],
];
/// Version 1 writes a number above this where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The memory of the container's control group, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CgroupMemory {
    pub(super) used: u64,
    /// None where the group has no limit.
    pub(super) limit: Option<u64>,
}

/// The memory of this process' control group; none outside of one.
pub(super) fn cgroup_memory() -> Option<CgroupMemory> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let [used, limit] = CGROUP_MEMORY.into_iter().find(|[used, _]| number(used).is_some())?;
    Some(CgroupMemory { used: number(used)?, limit: number(limit).filter(|limit| *limit < NO_LIMIT) })
}

/// One line of `/proc/<pid>/stat`, as far as it is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    group: u32,
    session: u32,
    /// In clock ticks, of the user and of the kernel.
    cpu_ticks: u64,
    /// In clock ticks since the machine's start.
    started_ticks: u64,
    /// In bytes.
    resident: u64,
}

impl Stat {
    fn read(pid: &str) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name of the program, in parentheses, may contain anything; the fields are counted from behind it.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Stat {
            group: u32::try_from(field(5)?).ok()?,
            session: u32::try_from(field(6)?).ok()?,
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            started_ticks: field(22)?,
            resident: field(24)?.saturating_mul(rustix::param::page_size() as u64),
        })
    }
}

/// The resident memory of the processes in the process group or session that `leader` leads, in bytes.
pub(super) fn memory_of_group(leader: u32) -> Option<u64> {
    let names = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let members = pids.filter_map(|pid| Stat::read(&pid)).filter(|stat| stat.group == leader || stat.session == leader);
    Some(members.map(|stat| stat.resident).fold(0, u64::saturating_add))
}

/// The metrics of this process, with the names that Prometheus' client libraries use, as Prometheus text.
pub(super) fn process_metrics() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    if let Some(stat) = Stat::read("self") {
        let cpu = stat.cpu_ticks as f64 / ticks;
        add("process_cpu_seconds_total", "counter", "Processor time of the agent, without its children.", cpu);
        let help = "Resident memory of the agent, without its children.";
        add("process_resident_memory_bytes", "gauge", help, stat.resident as f64);
        if let Some(boot) = boot_time() {
            let started = boot as f64 + stat.started_ticks as f64 / ticks;
            add("process_start_time_seconds", "gauge", "When the agent was started, in Unix time.", started);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory itself is one of them.
        let open = open.count().saturating_sub(1) as f64;
        add("process_open_fds", "gauge", "Open files of the agent, sockets included.", open);
    }
    add(
        "process_max_fds",
        "gauge",
        "The most open files that the agent may have.",
        listener::open_files_limit() as f64,
    );
    text
}

/// When the machine was started, in Unix seconds.
fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_programs_name() {
        let line =
            "7 (a) b 9) S 1 5 6 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 1234 1000000 25 18446744073709551615 0";
        let stat = Stat::parse(line).expect("a line");
        let page = rustix::param::page_size() as u64;
        let expected = Stat { group: 5, session: 6, cpu_ticks: 42, started_ticks: 1234, resident: 25 * page };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_all_of_its_metrics() {
        let text = process_metrics();
        for name in ["cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds"]
            .map(|name| format!("\nprocess_{name} "))
        {
            let value = text.split(&name).nth(1).and_then(|rest| rest.lines().next()?.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name}: {text}");
        }
        let own_group = Stat::read("self").expect("a process").group;
        assert!(memory_of_group(own_group).is_some_and(|bytes| bytes > 1 << 20));
    }
}
