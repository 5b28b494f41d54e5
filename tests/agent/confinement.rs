//! What the project's code, as another user, tries against an agent that is root with five capabilities and no more.

use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::support::world::World;
use crate::support::{Agent, Start, eventually, port};

const USER: u32 = 4321;
/// A project with a dependency, whose install npm has to make.
const WITH_DEPENDENCY: &str = r#"{"dependencies": {"a": "1"}, "scripts": {"dev": "sleep 3600"}}"#;
/// Shows what it may read, and makes a tree.
const NPM: &str = "cat .npmrc > \"$HOME/read\" 2>/dev/null; mkdir -p node_modules/installed";

/// As root with the five capabilities that the documents name.
fn confined(world: &World, dev_server: &[&str]) -> Start {
    let mut start = world.start().set("PREVIEW_USER", format!("{USER}:{USER}"));
    start = start.set("PREVIEW_PORT", port().to_string());
    start.dev_server = dev_server.iter().map(|word| (*word).to_owned()).collect();
    let kept = "--bounding-set=-all,+setuid,+setgid,+chown,+kill,+dac_override";
    start.through = ["setpriv", kept].map(str::to_owned).to_vec();
    start
}

/// Puts a script in the place of npm.
fn with_npm(start: Start, script: &str) -> Start {
    let programs = start.temp.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let npm = programs.join("npm");
    std::fs::write(&npm, format!("#!/bin/sh\n{script}\n")).unwrap();
    for path in [&programs, &npm] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    start.set("PATH", path)
}

/// A directory of root's that nobody else may read, with a project and a secret in it.
fn victim(start: &Start) -> PathBuf {
    let victim = start.temp.path().join("victim");
    std::fs::create_dir_all(victim.join("node_modules/kept")).unwrap();
    std::fs::write(victim.join("package.json"), WITH_DEPENDENCY).unwrap();
    std::fs::write(victim.join(".npmrc"), "//registry/:_authToken=secret\n").unwrap();
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o700)).unwrap();
    victim
}

fn assert_untouched(victim: &Path) {
    for path in ["", "package.json", ".npmrc", "node_modules", "node_modules/kept"] {
        let stat = std::fs::symlink_metadata(victim.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((stat.uid(), stat.gid()), (0, 0), "{path}");
    }
    assert_eq!(std::fs::read_dir(victim.join("node_modules")).unwrap().count(), 1);
}

fn home(agent: &Agent) -> PathBuf {
    agent.dir().join(".preview-agent/home")
}

/// Runs, and is not only an entry that waits for its parent.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn app_directory_replaced_by_a_link_is_not_entered() {
    let world = World::new();
    world.save("frontend/package.json", "{}");
    let start = confined(&world, &["sh", "-c", "cd .. && mv frontend real && ln -s ../victim frontend; exit 1"]);
    let victim = victim(&start);
    let mut agent = with_npm(start.set("APP_DIR", "frontend"), NPM).run();
    let gave_up = agent.wait_for("dev_server_gave_up");
    assert_eq!(gave_up["reason"], "config_error", "{gave_up}");
    assert!(gave_up["detail"].as_str().unwrap().contains("frontend"), "{gave_up}");
    // And again, when another file changes.
    world.save("src/App.tsx", "changed");
    agent.wait_for("dev_server_gave_up");
    assert_untouched(&victim);
    assert!(!home(&agent).join("read").exists());
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn prepared_tree_of_the_projects_user_is_not_used() {
    for link in ["link", "directory"] {
        let world = World::new();
        world.save("package.json", WITH_DEPENDENCY);
        let start = confined(&world, &["sleep", "3600"]);
        let victim = victim(&start);
        let prepared = start.temp.path().join("prepared");
        std::fs::create_dir(&prepared).unwrap();
        let entry = prepared.join(key());
        if link == "link" {
            symlink(&victim, &entry).unwrap();
        } else {
            std::fs::create_dir_all(entry.join("node_modules/planted")).unwrap();
        }
        lchown(&entry, Some(USER), Some(USER)).unwrap();
        let mut agent = with_npm(start.set("PREPARED_DIR", prepared.to_str().unwrap()), NPM).run();
        let done = agent.wait_for("deps_done");
        assert_eq!(done["prepared"], false, "{link}: {done}");
        assert!(agent.project().join("node_modules/installed").is_dir());
        assert_untouched(&victim);
        assert_eq!(agent.stop().code(), Some(143));
    }
}

/// The key of the project's tree.
fn key() -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("package.json"), WITH_DEPENDENCY).unwrap();
    let root = supervisor::directory::Directory::open(dir.path()).unwrap();
    match supervisor::dependencies::check_dependencies(&root, Path::new("")).unwrap() {
        supervisor::dependencies::Dependencies::Missing(job) => job.key().to_owned(),
        supervisor::dependencies::Dependencies::Installed => panic!("nothing to install"),
    }
}

/// Writes down the ids of three processes that ignore SIGTERM: the leader, which tries to move to the agent's group and
/// asks not to be killed with the agent, a child in another group, and an orphan in another session.
const ESCAPES: &str = r#"
use POSIX ();
$SIG{TERM} = 'IGNORE';
mkdir 'node_modules';
sub note { open(my $file, '>>', 'node_modules/pids'); syswrite($file, "$$\n"); close $file }
syscall(157, 1, 0);
POSIX::setpgid(0, getpgrp(getppid()));
note();
if (!fork) { POSIX::setsid(); if (!fork) { note(); sleep 3600; } exit }
if (!fork) { POSIX::setpgid(0, 0); note(); sleep 3600; exit }
sleep 1 while 1;
"#;

fn escaped(agent: &Agent, count: usize) -> Vec<String> {
    let file = agent.project().join("node_modules/pids");
    let pids = || std::fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("the processes have started", || pids().len() >= count);
    pids()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn no_process_of_the_dev_server_outlives_a_restart_or_a_stop() {
    let world = World::new();
    world.save("server.pl", ESCAPES);
    let mut agent = confined(&world, &["perl", "server.pl"]).set("STOP_GRACE", "1").run();
    agent.wait_for("dev_server_start");
    let first = escaped(&agent, 3);
    assert!(first.iter().all(|pid| alive(pid)), "{first:?}");
    world.save(".env", "A=1");
    agent.wait_for("dev_server_start");
    let second = escaped(&agent, 6).split_off(3);
    for pid in &first {
        assert!(!alive(pid), "{pid} of {first:?} outlived the restart");
    }
    assert_eq!(agent.status()["isolation"], "user");
    assert_eq!(agent.stop().code(), Some(143));
    for pid in &second {
        assert!(!alive(pid), "{pid} of {second:?} outlived the agent");
    }
}

#[test]
fn lowered_oom_score_of_the_dev_server_is_raised_again() {
    let world = World::new();
    let server = "const fs = require('fs'); const file = '/proc/self/oom_score_adj';
        const before = fs.readFileSync(file, 'utf8').trim();
        try { fs.writeFileSync(file, '0') } catch {}
        console.log('score', before, 'then', fs.readFileSync(file, 'utf8').trim());
        require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT);";
    world.save("server.cjs", server);
    let mut agent = confined(&world, &["node", "server.cjs"]).run();
    let line = agent.wait_until("the score", |line| line["stream"] == "stdout");
    assert!(line["message"].as_str().unwrap().starts_with("score 500 then "), "{line}");
    agent.wait_for("dev_server_ready");
    let pid = agent.status()["dev_server"]["pid"].as_u64().unwrap();
    eventually("the score is raised again", || {
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim() == "500"
    });
    let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.pid())).unwrap();
    assert!(own.trim().parse::<i32>().unwrap() <= 0, "{own}");
    assert_eq!(agent.stop().code(), Some(143));
}

/// Levels of directories that overflow a stack, or run out of descriptors, where each takes a part of one.
const DEEP: &str = "perl -e 'mkdir q(node_modules); chdir q(node_modules); for (1..15000) { mkdir q(a); chdir q(a) }'";

#[test]
fn deep_tree_is_removed_when_another_takes_its_place() {
    let world = World::new();
    world.save("package.json", WITH_DEPENDENCY);
    let start = confined(&world, &["sleep", "3600"]);
    let script = format!("if grep -q '\"1\"' package.json; then {DEEP}; else mkdir -p node_modules/new; fi");
    let mut agent = with_npm(start, &script).run();
    agent.wait_for("deps_done");
    world.save("package.json", &WITH_DEPENDENCY.replace("\"1\"", "\"2\""));
    agent.wait_for("deps_done");
    assert!(agent.project().join("node_modules/new").is_dir());
    let state = agent.dir().join(".preview-agent");
    let leftovers = || {
        let names =
            std::fs::read_dir(&state).unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("install-")).count()
    };
    eventually("the old tree is removed", || leftovers() == 0);
    assert_eq!(agent.stop().code(), Some(143));
}
