//! The real binary and files that somebody else changed in its directory: shown and left alone, or put back.

use std::fs;
use std::time::Duration;

use crate::support::world::World;
use crate::support::{Agent, eventually};
use serde_json::{Value, json};

fn shown(agent: &mut Agent) -> Value {
    agent.status()["local_changes"].clone()
}

fn one(path: &str, change: &str) -> Value {
    json!({"count": 1, "first": [{"file_path": path, "change": change}]})
}

fn none() -> Value {
    json!({"count": 0, "first": []})
}

#[test]
fn a_change_is_shown_once_counted_and_left_alone_until_the_database_speaks() {
    let world = World::new();
    let mut agent = world.agent();
    let file = agent.project().join("src/App.tsx");
    fs::write(&file, "written by a generator").unwrap();
    let told = agent.wait_for("local_change");
    assert_eq!((&told["file_path"], &told["change"]), (&json!("src/App.tsx"), &json!("changed")));
    eventually("it is shown", || shown(&mut agent) == one("src/App.tsx", "changed"));
    let metrics = agent.get("/metrics").1;
    assert!(metrics.contains("preview_agent_local_changes 1"), "{metrics}");
    assert_eq!(agent.status()["debts"]["count"], 0);
    assert_eq!(agent.status()["current"], true);

    // What happens elsewhere does not touch it; nor does a second change by the same hand make a second line.
    world.save("other.ts", "x");
    agent.wait_until("other.ts", |event| event["file_path"] == "other.ts");
    fs::write(&file, "written again").unwrap();
    fs::remove_file(agent.project().join("index.html")).unwrap();
    let told = agent.wait_for("local_change");
    assert_eq!((&told["file_path"], &told["change"]), (&json!("index.html"), &json!("removed")));
    assert_eq!(fs::read_to_string(&file).unwrap(), "written again");

    world.save("src/App.tsx", "the database's word");
    world.save("index.html", "<p>back");
    world.in_sync(&agent);
    eventually("nothing is shown", || shown(&mut agent) == none());
}

#[test]
fn the_agents_own_writes_and_mere_touches_are_none() {
    let world = World::new();
    let mut agent = world.agent();
    for round in 0..30 {
        world.save("src/App.tsx", &format!("round {round}"));
        world.save("src/App.tsx", &format!("round {round}, at once"));
        std::thread::sleep(Duration::from_millis(50));
    }
    world.store().delete("index.html", None, "test").unwrap();
    world.in_sync(&agent);
    // Touched, and written anew with the same content: its stat differs, its content does not.
    let file = agent.project().join("package.json");
    let text = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, text).unwrap();
    // A marker that is found shows that everything before it was looked at.
    fs::write(agent.project().join("src/logo.png"), "marker").unwrap();
    agent.wait_until("the marker", |event| event["file_path"] == "src/logo.png");
    fs::write(agent.project().join("src/logo.png"), "marker, once more").unwrap();
    eventually("only the marker is shown", || shown(&mut agent) == one("src/logo.png", "changed"));
    agent.read_on();
    let told = agent.seen.iter().filter(|event| event["event_type"] == "local_change").count();
    assert_eq!(told, 1);
}

#[test]
fn is_put_back_where_that_is_wished() {
    let world = World::new();
    let mut agent = world.start().arg("--local-changes").arg("restore").run();
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
    fs::write(agent.project().join("src/App.tsx"), "written by a generator").unwrap();
    fs::remove_file(agent.project().join("src/logo.png")).unwrap();
    fs::write(agent.project().join("foreign.log"), "not the database's").unwrap();
    agent.wait_for("local_change");
    agent.wait_for("local_change");
    eventually("put back", || {
        fs::read(agent.project().join("src/App.tsx")).is_ok_and(|bytes| bytes == b"export default 1")
            && agent.project().join("src/logo.png").exists()
    });
    assert!(agent.project().join("foreign.log").exists());
    fs::remove_file(agent.project().join("foreign.log")).unwrap();
    world.in_sync(&agent);
    eventually("nothing is shown", || shown(&mut agent) == none());
    assert!(agent.get("/metrics").1.contains("preview_agent_local_changes_restored_total 2"));
}

#[test]
fn outlives_a_restart_and_what_nobody_saw_is_put_back() {
    let world = World::new();
    let mut agent = world.agent();
    fs::write(agent.project().join("src/App.tsx"), "left as it is").unwrap();
    agent.wait_for("local_change");
    let state = agent.dir().join(".preview-agent/state");
    eventually("it is kept", || {
        fs::read_to_string(&state).is_ok_and(|state| state.contains("\"local\":[[\"src/App.tsx\""))
    });
    let dir = agent.crash();
    fs::write(dir.path().join("project/package.json"), "changed while no agent was there").unwrap();
    let mut agent = world.start().in_dir(dir).run();
    agent.wait_for("hydrate_kept");
    eventually("put back", || {
        fs::read(agent.project().join("package.json")).is_ok_and(|bytes| bytes == b"{\"name\":\"x\"}")
    });
    assert_eq!(fs::read_to_string(agent.project().join("src/App.tsx")).unwrap(), "left as it is");
    eventually("still shown", || shown(&mut agent) == one("src/App.tsx", "changed"));
    world.save("src/App.tsx", "the database's word");
    world.in_sync(&agent);
    eventually("nothing is shown", || shown(&mut agent) == none());
}

#[test]
fn a_bad_word_for_the_setting_is_refused() {
    let world = World::new();
    let (status, said) = world.start().set("LOCAL_CHANGES", "perhaps").run().end();
    assert_eq!(status.code(), Some(64));
    assert!(said.contains("--local-changes"), "{said}");
}
