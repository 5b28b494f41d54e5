//! The sole waiter: no status lost, no orphan left, as PID 1 and not.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use supervisor::init::Init;
use supervisor::process::{Command, Environment, Process};

const PATIENCE: Duration = Duration::from_secs(60);

fn environment() -> Environment {
    Environment::pick(std::env::vars_os())
}

fn shell(init: &Init, script: &str) -> Process {
    let command = Command::new("sh", "/", environment()).args(["-c", script]);
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
        let status = tokio::time::timeout(PATIENCE, process.wait()).await.expect("reaped");
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
        assert!(started.elapsed() < PATIENCE, "{} zombies, {} orphans", zombies(), sleepers());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Orphans that live: adopted by us, since nobody else in this program starts a `sleep`.
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
async fn two_hundred_short_children_each_give_their_status() {
    statuses_are_kept(200).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn orphans_come_to_us_and_are_reaped() {
    orphans_are_reaped(100).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let init = Init::start().expect("signal handlers");
    for program in ["no-such-program", "/no/such/program"] {
        let error = init.spawn(Command::new(program, "/", environment())).expect_err("not there");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_goes_before_us_when_memory_runs_out() {
    let init = Init::start().expect("signal handlers");
    let mut child = shell(&init, "while ! grep -q 500 /proc/self/oom_score_adj; do sleep 0.01; done");
    assert!(tokio::time::timeout(PATIENCE, child.wait()).await.expect("it is raised").success());
}

#[tokio::test]
async fn stopping_takes_the_whole_group() {
    let init = Init::start().expect("signal handlers");
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    // The leader and one child ignore SIGTERM.
    let script = format!("trap '' TERM; sh -c 'echo $$ >> {0}; exec sleep 600' & echo $$ >> {0}; wait", pids.display());
    let mut process = shell(&init, &script);
    let lines = || std::fs::read_to_string(&pids).unwrap_or_default().lines().count();
    let started = Instant::now();
    while lines() < 2 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = process.stop(Duration::from_millis(100)).await;
    assert!(stopped.killed && stopped.status.is_some(), "{stopped:?}");
    for pid in std::fs::read_to_string(&pids).expect("pids").lines() {
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} is still there");
    }
}

#[tokio::test]
async fn signals_ask_for_an_end_and_hup_does_not() {
    let init = Init::start().expect("signal handlers");
    let mut early = init.signals();
    let ours = std::process::id();
    assert!(shell(&init, &format!("kill -HUP {ours}; kill -TERM {ours}")).wait().await.success());
    let first = tokio::time::timeout(PATIENCE, early.next()).await.expect("a signal");
    assert_eq!((first.number(), first.name()), (15, "SIGTERM"));
    let again = tokio::time::timeout(PATIENCE, init.signals().next()).await.expect("those before the call too");
    assert_eq!(again, first);
    assert!(shell(&init, &format!("kill -QUIT {ours}")).wait().await.success());
    let second = tokio::time::timeout(PATIENCE, early.next()).await.expect("a second signal");
    assert_eq!(second.number(), 3);
}

/// The same as PID 1 of a namespace, with this test binary as its init.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn all_of_it_holds_as_pid_1() {
    let itself = std::env::current_exe().expect("a path");
    // Not by `Init`, whose children have no right to a namespace. Its status may go to the waiter of another test, so
    // that only what it prints counts.
    let child = std::process::Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--"])
        .arg(itself)
        .args(["--ignored", "--exact", "as_pid_1", "--nocapture", "--test-threads=1"])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut out = child.expect("unshare").stdout.take().expect("a pipe");
    let printed = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut out).expect("text"));
    let printed = tokio::time::timeout(PATIENCE, printed).await.expect("an end").expect("read");
    assert!(printed.contains("1 passed"), "{printed}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run in a namespace of its own by all_of_it_holds_as_pid_1"]
async fn as_pid_1() {
    assert_eq!(std::process::id(), 1);
    statuses_are_kept(200).await;
    orphans_are_reaped(1000).await;
}

/// `something & exec preview-agent`, as entrypoint scripts do: the agent stops what its own children left, not that.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_there_before_is_not_a_stray() {
    let init = Init::start().expect("signal handlers");
    let itself = std::env::current_exe().expect("a path");
    let inner = "--ignored --exact after_an_exec --nocapture --test-threads=1";
    let mut process = shell(&init, &format!("sleep 601 & exec {} {inner}", itself.display()));
    let status = tokio::time::timeout(PATIENCE, process.wait()).await.expect("an end");
    let mut printed = String::new();
    process.stop(Duration::ZERO).await;
    process.rest(|line| printed += &(line.text + "\n")).await;
    assert!(status.success() && printed.contains("1 passed"), "{status}\n{printed}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run in place of a shell by what_was_there_before_is_not_a_stray"]
async fn after_an_exec() {
    let init = Init::start().expect("signal handlers");
    // Held until the orphan has left the group, with which it would be killed.
    let mut leader = shell(&init, "setsid sleep 600 &");
    assert!(leader.wait().await.success());
    let started = Instant::now();
    while sleepers() < 2 {
        assert!(started.elapsed() < PATIENCE, "the orphan did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(supervisor::process::kill_strays(PATIENCE).await, 1);
    assert_eq!(sleepers(), 1, "the one from before lives");
}
