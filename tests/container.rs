//! The image of Dockerfile.preview in real containers, the agent as their PID 1. `tests/run container` builds the image
//! and runs these, as root: they need podman and network namespaces, which `cargo test` alone should not.

#[path = "container/machine.rs"]
mod machine;
mod support;

use std::time::Instant;

use machine::{Machine, Network};
use support::eventually;

const READ_ONLY: [&str; 4] = ["--read-only", "--tmpfs=/tmp", "--tmpfs=/app:mode=0777,size=64m", "--memory=512m"];
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
