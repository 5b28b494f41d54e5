//! The real binary on a directory that an earlier one left: what a volume brings back.

use std::fs;
use std::time::Duration;

use crate::support::world::World;
use crate::support::{Agent, eventually};
use serde_json::Value;

/// Waits until the state file speaks of the database's head.
fn state_is_kept(world: &World, agent: &Agent) {
    let file = agent.dir().join(".preview-agent/state");
    let head = format!("\"revision\":{}", world.store().head().revision);
    eventually("the state is kept", || fs::read_to_string(&file).is_ok_and(|state| state.contains(&head)));
}

fn written(agent: &mut Agent) -> Vec<String> {
    agent.read_on();
    let applied = agent.seen.iter().filter(|event| event["event_type"] == "file_applied");
    applied.filter_map(|event| event["file_path"].as_str().map(str::to_owned)).collect()
}

fn hydrated_anew(agent: &Agent) -> bool {
    agent.seen.iter().any(|event| event["event_type"] == "hydrate_done")
}

#[test]
fn only_the_difference_is_fetched() {
    let world = World::new();
    let agent = world.agent();
    world.save("src/deep/kept.ts", "kept");
    world.in_sync(&agent);
    state_is_kept(&world, &agent);
    let dir = agent.crash();

    world.save("src/App.tsx", "saved while it was gone");
    world.store().delete("index.html", None, "test").unwrap();
    let foreign = dir.path().join("project/src/foreign.log");
    fs::write(&foreign, "not the database's").unwrap();
    fs::write(dir.path().join("project/package.json"), "damaged").unwrap();
    let mut agent = world.start().in_dir(dir).run();
    let kept: Value = agent.wait_for("hydrate_kept");
    println!("{kept}");
    eventually("equal but for the foreign file", || {
        fs::read_to_string(agent.project().join("src/App.tsx")).is_ok_and(|text| text == "saved while it was gone")
            && !agent.project().join("index.html").exists()
            && fs::read(agent.project().join("package.json")).is_ok_and(|bytes| bytes == b"{\"name\":\"x\"}")
    });
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "not the database's");
    fs::remove_file(&foreign).unwrap();
    world.in_sync(&agent);
    std::thread::sleep(Duration::from_millis(50));
    let written = written(&mut agent);
    assert!(!hydrated_anew(&agent), "no snapshot was fetched");
    assert!(!written.iter().any(|path| path == "src/deep/kept.ts" || path == "src/logo.png"), "{written:?}");
}

#[test]
fn what_was_written_after_the_state_was_kept_is_known_too() {
    let world = World::new();
    let agent = world.agent();
    state_is_kept(&world, &agent);
    world.save("src/young.ts", "younger than the state");
    world.in_sync(&agent);
    let dir = agent.crash();
    world.store().delete("src/young.ts", None, "test").unwrap();
    let agent = world.start().in_dir(dir).run();
    world.in_sync(&agent);
}

#[test]
fn a_damaged_or_foreign_state_means_a_fresh_start() {
    for damage in ["damaged", "foreign"] {
        let world = World::new();
        let agent = world.agent();
        state_is_kept(&world, &agent);
        let dir = agent.crash();
        let state = dir.path().join(".preview-agent/state");
        let other = World::new();
        let world = match damage {
            "damaged" => {
                let mut bytes = fs::read(&state).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                fs::write(&state, bytes).unwrap();
                world
            }
            _ => other,
        };
        world.save("src/App.tsx", "new");
        let mut agent = world.start().in_dir(dir).run();
        agent.wait_for("state_refused");
        agent.wait_for("hydrate_done");
        world.in_sync(&agent);
    }
}

#[test]
fn a_state_without_its_files_means_a_fresh_start() {
    let world = World::new();
    let agent = world.agent();
    state_is_kept(&world, &agent);
    let dir = agent.crash();
    fs::remove_dir_all(dir.path().join("project")).unwrap();
    let mut agent = world.start().in_dir(dir).run();
    agent.wait_for("hydrate_done");
    world.in_sync(&agent);
}
