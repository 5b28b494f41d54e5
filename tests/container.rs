//! The image of Dockerfile.preview in real containers, the agent as their PID 1. `tests/run container` builds the image
//! and runs these, as root: they need podman and network namespaces, which `cargo test` alone should not.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

#[path = "container/machine.rs"]
mod machine;
#[path = "agent/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use machine::{Machine, Network};
use serde_json::Value;
use support::eventually;

const READ_ONLY: [&str; 4] = ["--read-only", "--tmpfs=/tmp", "--tmpfs=/app:mode=0755,size=64m", "--memory=512m"];
/// What Trust names, and nothing else.
const CAPABILITIES: [&str; 2] = ["--cap-drop=all", "--cap-add=SETUID,SETGID,CHOWN,KILL,DAC_OVERRIDE"];

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn a_read_only_container_follows_the_database_through_a_silent_cut() {
    let network = Network::new();
    let world = network.world();
    let machine = Machine::start(&network, &world, &[&READ_ONLY[..], &CAPABILITIES].concat());
    machine.equals(&world);
    for number in 0..20 {
        world.save("src/App.tsx", &format!("edit {number}"));
    }
    machine.equals(&world);

    network.cut();
    world.save("src/App.tsx", "saved during the cut");
    world.save("src/new.ts", "made during the cut");
    world.store().delete("index.html", None, "test").unwrap();
    eventually("the silence is noticed", || machine.connection() != "joined");
    let back = Instant::now();
    network.mend();
    machine.equals(&world);
    println!("equal {} ms after the network came back", back.elapsed().as_millis());
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn stop_ends_within_the_grace_as_the_signal_says() {
    let network = Network::new();
    let world = network.world();
    let machine = Machine::start(&network, &world, &CAPABILITIES);
    machine.equals(&world);
    let asked = Instant::now();
    assert_eq!(machine.stop(5), 128 + 15);
    println!("stopped in {} ms", asked.elapsed().as_millis());
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn a_thousand_orphans_leave_no_zombie() {
    let network = Network::new();
    let world = network.world();
    let machine = Machine::start(&network, &world, &CAPABILITIES);
    machine.equals(&world);
    assert_eq!(machine.page("/orphans"), "1000");
    eventually("every orphan is reaped", || machine.processes().iter().all(|process| !process.is_orphan()));
    assert!(machine.processes().iter().any(|process| process.pid == 1 && process.name == "preview-agent"));
    world.save("src/App.tsx", "and the agent goes on");
    machine.equals(&world);
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn a_killed_dev_server_comes_back() {
    let network = Network::new();
    let world = network.world();
    let machine = Machine::start(&network, &world, &CAPABILITIES);
    machine.equals(&world);
    let old = machine.status()["dev_server"]["pid"].clone();
    machine.exec(&["sh", "-c", &format!("kill -9 {old}")]);
    eventually("another dev server", || {
        let status = machine.status();
        status["dev_server"]["pid"] != old && status["dev_server"]["state"] == "serving"
    });
    machine.equals(&world);
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn memory_that_runs_out_ends_the_dev_server_and_not_the_agent() {
    let network = Network::new();
    let world = network.world();
    let machine = Machine::start(&network, &world, &["--memory=256m", "--memory-swap=256m"]);
    machine.equals(&world);
    machine.ask("/eat");
    eventually("it is said to be out of memory", || machine.status()["dev_server"].to_string().contains("oom_killed"));
    assert!(machine.running());
    eventually("it is back", || machine.status()["dev_server"]["state"] == "serving");
    world.save("src/App.tsx", "after the memory ran out");
    machine.equals(&world);
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn without_root_and_capabilities_the_whole_loop_works_and_says_so() {
    let network = Network::new();
    let world = network.world();
    let options = ["--user=preview", "--cap-drop=all", "--security-opt=no-new-privileges"];
    let machine = Machine::start(&network, &world, &options);
    machine.equals(&world);
    world.save("src/App.tsx", "edited");
    machine.equals(&world);
    assert_eq!(machine.status()["isolation"], "none");
    assert_eq!(machine.stop(5), 128 + 15);
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn a_hostile_project_gets_nothing_and_stops_nothing() {
    let network = Network::new();
    let world = network.world();
    let limits = ["--pids-limit=256", "--env=LOCAL_CHANGES=restore"];
    let machine = Machine::start(&network, &world, &[&READ_ONLY[..], &CAPABILITIES, &limits].concat());
    machine.equals(&world);
    assert_eq!(machine.status()["isolation"], "user");
    machine.exec(&[
        "sh",
        "-c",
        "mkdir /tmp/outside && echo untouched > /tmp/outside/App.tsx && chmod 0777 /tmp/outside",
    ]);
    machine.page("/hostile");
    for edit in 0..200 {
        world.save(&format!("src/part{}.ts", edit % 20), &format!("edit {edit}"));
        assert!(edit % 10 != 0 || machine.healthy(), "/healthz did not answer at edit {edit}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = || machine.try_exec(&["cat", "/tmp/hostile.json"]);
    eventually("the attacks end", || said().is_some());
    machine.equals(&world);

    let report: Value = serde_json::from_str(&said().unwrap()).unwrap();
    let refused = ["environ", "maps", "syscall", "auxv", "mem", "fd", "state", "kill", "become root", "move the state"];
    for name in refused.into_iter().chain(["replace the project", "plant a tree", "preload"]) {
        assert!(report[name].as_str().unwrap().starts_with("refused"), "{name}: {}", report[name]);
    }
    let secrets = ["REALTIME_TOKEN", "SNAPSHOT_URL", "SUPABASE_ANON_KEY", "STATUS_TOKEN"];
    for (name, value) in world.backend().agent_settings().env().into_iter().filter(|(name, _)| secrets.contains(name)) {
        assert!(!report.to_string().contains(&value), "{name} came out");
    }
    let outside = machine.exec(&["sh", "-c", "ls /tmp/outside; cat /tmp/outside/App.tsx"]);
    assert_eq!(outside, "App.tsx\nuntouched\n", "nothing was written outside of the project");

    // After the attacks: these may make the dev server restart, which ends what has escaped.
    machine.page("/escape");
    let written = || machine.try_exec(&["cat", "/tmp/escaped"]).map(|text| text.trim().to_owned());
    eventually("a process leaves its session", || written().is_some_and(|pid| !pid.is_empty()));
    let command = format!("/proc/{}/cmdline", written().unwrap());
    let runs = || machine.try_exec(&["grep", "-q", "sleep", &command]).is_some();
    eventually("it runs", runs);
    let pid = machine.status()["dev_server"]["pid"].clone();
    world.save(".env", "A=1");
    eventually("another dev server", || {
        let status = machine.status();
        status["dev_server"]["pid"] != pid && status["dev_server"]["state"] == "serving"
    });
    assert!(!runs(), "a process outlived the restart of its dev server");
    machine.equals(&world);
}

#[test]
#[ignore = "needs podman and root: tests/run container"]
fn prepared_dependencies_are_taken_and_the_preview_is_soon_there() {
    const ROUNDS: usize = 5;
    let network = Network::new();
    let world = network.world_of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/react-vite")));
    let (mut answers, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let machine = Machine::start_with(&network, &world, &CAPABILITIES, &[]);
        answers.push(started.elapsed().as_millis() as u64);
        assert_eq!(machine.logged("deps_done")["prepared"], true);
        let boot = machine.status()["boot_ms"].clone();
        let at = |step: &str| boot[step].as_u64().unwrap_or_else(|| panic!("no {step} in {boot}"));
        let install = at("install_done") - at("install_start");
        let network = machine.logged("hydrate_done")["wait_ms"].as_u64().unwrap();
        own.push(at("dev_server_start") - install - network);
        println!("first answer after {} ms, install {install} ms, {boot}", answers[answers.len() - 1]);
    }
    let median = |times: &mut Vec<u64>| {
        times.sort();
        times[ROUNDS / 2]
    };
    println!(
        "medians of {ROUNDS}: first answer {} ms, the agent's own share {} ms",
        median(&mut answers),
        median(&mut own)
    );
}
