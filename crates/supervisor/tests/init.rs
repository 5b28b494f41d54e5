//! Waiting for children: no status is lost and no orphan is left, as process 1 and as another process.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]
#![cfg(unix)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use supervisor::directory::Directory;
use supervisor::init::Init;
use supervisor::process::{Command, Environment, Process};

const DEADLINE: Duration = Duration::from_secs(60);

fn environment() -> Environment {
    Environment::pick(std::env::vars_os())
}

fn root() -> Arc<Directory> {
    Arc::new(Directory::open("/").expect("a root directory"))
}

fn shell(init: &Init, script: &str) -> Process {
    let command = Command::new("sh", root(), environment()).args(["-c", script]);
    init.spawn(command).expect("a shell")
}

/// Our children that have ended and were not waited for.
#[cfg(target_os = "linux")]
fn zombies() -> usize {
    let ours = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").expect("a /proc").flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&ours)
        })
        .count()
}

async fn statuses_are_kept(children: i32) {
    let init = Init::start().expect("signal handlers");
    let mut spawned: Vec<(i32, Process)> = Vec::new();
    for number in 0..children {
        spawned.push((number % 256, shell(&init, &format!("exit {}", number % 256))));
    }
    for (code, mut process) in spawned {
        let status = tokio::time::timeout(DEADLINE, process.wait()).await.expect("reaped");
        assert_eq!(status.code(), Some(code));
        assert_eq!(process.wait().await, status, "asked twice");
    }
}

#[cfg(target_os = "linux")]
async fn orphans_are_reaped(orphans: usize) {
    let init = Init::start().expect("signal handlers");
    let script = format!("i=0; while [ $i -lt {orphans} ]; do (sleep 0.2 &); i=$((i+1)); done; exit 7");
    let status = shell(&init, &script).wait().await;
    assert_eq!(status.code(), Some(7));
    let started = Instant::now();
    while zombies() > 0 || sleepers() > 0 {
        assert!(started.elapsed() < DEADLINE, "{} zombies, {} orphans", zombies(), sleepers());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Adopted orphans that still run: nothing else in this program starts a `sleep`.
#[cfg(target_os = "linux")]
fn sleepers() -> usize {
    let ours = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").expect("a /proc").flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            stat.contains("(sleep)")
                && stat.rsplit(')').next().unwrap_or("").split_whitespace().nth(1) == Some(ours.as_str())
        })
        .count()
}

#[tokio::test]
async fn each_of_two_hundred_short_children_has_its_status() {
    statuses_are_kept(200).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn orphans_are_adopted_and_reaped() {
    orphans_are_reaped(100).await;
}

#[tokio::test]
async fn missing_program_is_an_error() {
    let init = Init::start().expect("signal handlers");
    for program in ["no-such-program", "/no/such/program"] {
        let error = init.spawn(Command::new(program, root(), environment())).expect_err("not there");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn oom_score_of_a_child_is_raised_before_it_runs() {
    let init = Init::start().expect("signal handlers");
    let mut child = shell(&init, "exec grep -qx 500 /proc/self/oom_score_adj");
    assert!(tokio::time::timeout(DEADLINE, child.wait()).await.expect("an end").success());
}

#[tokio::test]
async fn stop_ends_the_whole_group() {
    let init = Init::start().expect("signal handlers");
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    // The leader and one child ignore SIGTERM.
    let script = format!("trap '' TERM; sh -c 'echo $$ >> {0}; exec sleep 600' & echo $$ >> {0}; wait", pids.display());
    let mut process = shell(&init, &script);
    let lines = || std::fs::read_to_string(&pids).unwrap_or_default().lines().count();
    let started = Instant::now();
    while lines() < 2 {
        assert!(started.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = process.stop(Duration::from_millis(100)).await;
    assert!(stopped.killed && stopped.status.is_some(), "{stopped:?}");
    for pid in std::fs::read_to_string(&pids).expect("pids").lines() {
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} is still there");
    }
}

#[tokio::test]
async fn term_int_and_quit_are_reported_and_hup_is_not() {
    let init = Init::start().expect("signal handlers");
    let mut early = init.signals();
    let ours = std::process::id();
    assert!(shell(&init, &format!("kill -HUP {ours}; kill -TERM {ours}")).wait().await.success());
    let first = tokio::time::timeout(DEADLINE, early.next()).await.expect("a signal");
    assert_eq!((first.number(), first.name()), (15, "SIGTERM"));
    let again =
        tokio::time::timeout(DEADLINE, init.signals().next()).await.expect("signals from before the call are reported");
    assert_eq!(again, first);
    assert!(shell(&init, &format!("kill -QUIT {ours}")).wait().await.success());
    let second = tokio::time::timeout(DEADLINE, early.next()).await.expect("a second signal");
    assert_eq!(second.number(), 3);
}

/// The same as process 1 of a namespace, with this test program as its init.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn statuses_and_orphans_are_handled_as_pid_1() {
    let itself = std::env::current_exe().expect("a path");
    // Not started by `Init`, whose children may not make a namespace. Another test's `Init` may receive its status, so
    // only its output is checked.
    let child = std::process::Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--"])
        .arg(itself)
        .args(["--ignored", "--exact", "as_pid_1", "--nocapture", "--test-threads=1"])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut out = child.expect("unshare").stdout.take().expect("a pipe");
    let printed = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut out).expect("text"));
    let printed = tokio::time::timeout(DEADLINE, printed).await.expect("an end").expect("read");
    assert!(printed.contains("1 passed"), "{printed}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run in its own namespace by statuses_and_orphans_are_handled_as_pid_1"]
async fn as_pid_1() {
    assert_eq!(std::process::id(), 1);
    statuses_are_kept(200).await;
    orphans_are_reaped(1000).await;
}

/// `something & exec preview-agent`, as entrypoint scripts do: the agent does not stop `something`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn process_from_before_the_agent_is_not_killed() {
    let init = Init::start().expect("signal handlers");
    let itself = std::env::current_exe().expect("a path");
    let inner = "--ignored --exact after_an_exec --nocapture --test-threads=1";
    let mut process = shell(&init, &format!("sleep 601 & exec {} {inner}", itself.display()));
    let status = tokio::time::timeout(DEADLINE, process.wait()).await.expect("an end");
    let mut printed = String::new();
    process.stop(Duration::ZERO).await;
    process.remaining_lines(|line| printed += &(line.text + "\n")).await;
    assert!(status.success() && printed.contains("1 passed"), "{status}\n{printed}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run in place of a shell by process_from_before_the_agent_is_not_killed"]
async fn after_an_exec() {
    let init = Init::start().expect("signal handlers");
    // Kept until the orphan has left the group: dropping the leader kills the group.
    let mut leader = shell(&init, "setsid sleep 600 &");
    assert!(leader.wait().await.success());
    let started = Instant::now();
    while sleepers() < 2 {
        assert!(started.elapsed() < DEADLINE, "the orphan did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(supervisor::process::kill_strays(DEADLINE).await, 1);
    // Killed, it is there until it is reaped.
    while sleepers() > 1 {
        assert!(started.elapsed() < DEADLINE, "the orphan is not reaped");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sleepers(), 1, "the process from before the agent still runs");
}
