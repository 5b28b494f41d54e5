//! The real binary and its first state: what can go wrong with a snapshot, and where each of it ends.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::world::World;
use crate::support::{Start, eventually, tree};
use local_backend::{FaultRate, SnapshotFaults};

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

fn ids() -> Vec<(&'static str, String)> {
    vec![("PROJECT_ID", PROJECT.to_owned()), ("SESSION_ID", "s".to_owned())]
}

/// Ends with this status, says why in one line, and leaves the project as it was.
fn fails(start: Start, status: i32) -> String {
    fs::create_dir_all(start.project()).unwrap();
    fs::write(start.project().join("mine.txt"), "mine").unwrap();
    let project = start.project();
    let mut agent = start.run();
    let failed = agent.wait_for("failed");
    assert_eq!(tree(&project).into_keys().collect::<Vec<_>>(), ["mine.txt"], "the project is as it was");
    let (ended, said) = agent.end();
    assert_eq!(ended.code(), Some(status), "{failed} {said}");
    failed["message"].as_str().unwrap().to_owned()
}

fn zip_at(start: &Start, bytes: &[u8]) -> String {
    let file = start.temp.path().join("snapshot.zip");
    fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_local_zip_of_any_tool_is_enough() {
    let start = Start::new(ids());
    let file = zip_at(&start, &archive(&[("src/a.ts", b"a"), ("logo.png", b"\x89PNG\0\xff"), ("empty", b"")]));
    let mut agent = start.arg("--snapshot").arg(&file).run();
    let done = agent.wait_for("hydrate_done");
    assert_eq!(done["files"], 3);
    assert_eq!(fs::read(agent.project().join("logo.png")).unwrap(), b"\x89PNG\0\xff");
    let degraded = agent.seen.iter().any(|event| event["reason"] == "no_live_updates");
    assert!(degraded, "it says that there are no live updates");
    agent.wait_for("dev_server_start");
}

#[test]
fn a_bad_zip_ends_with_its_reason() {
    let whole = archive(&[("a.txt", b"hello hello hello hello"), ("b.txt", b"b")]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not a zip", b"<html>not found</html>".to_vec()),
        ("", Vec::new()),
        ("", whole[..whole.len() / 2].to_vec()),
        ("leaves the project", archive(&[("../evil.txt", b"x")])),
        ("absolute", archive(&[("/etc/evil.txt", b"x")])),
        ("control character", archive(&[("a\0b", b"x")])),
    ];
    for (reason, bytes) in cases {
        let start = Start::new(ids());
        let file = zip_at(&start, &bytes);
        let outside = start.temp.path().join("evil.txt");
        let said = fails(start.arg("--snapshot").arg(&file), 69);
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(!outside.exists());
    }
}

#[test]
fn a_missing_zip_is_unavailable() {
    let said = fails(Start::new(ids()).arg("--snapshot").arg("/nowhere/x.zip"), 69);
    assert!(said.contains("/nowhere/x.zip"), "{said}");
}

#[test]
fn a_snapshot_that_is_refused_for_good_ends_the_run_where_there_is_no_database() {
    for status in [400, 403, 404] {
        let world = World::new();
        world.backend().faults().snapshot(SnapshotFaults {
            status: Some(status),
            chance: FaultRate::with_probability(1.0),
            ..SnapshotFaults::default()
        });
        let start = world.start().without("REALTIME_TOKEN").without("SESSION_URL");
        let said = fails(start, 69);
        assert!(said.contains(&status.to_string()), "{said}");
        assert!(!said.contains(&world.backend().agent_settings().snapshot_url), "the URL is a secret");
    }
}

#[test]
fn an_expired_url_is_renewed() {
    let world = World::new();
    let faults = SnapshotFaults { status: Some(400), chance: FaultRate::next(1), ..SnapshotFaults::default() };
    world.backend().faults().snapshot(faults);
    let mut agent = world.start().run();
    agent.wait_for("snapshot_renewal");
    agent.wait_for("hydrate_done");
    world.in_sync(&agent);
}

#[test]
fn a_damaged_snapshot_is_built_anew() {
    let world = World::new();
    let faults = SnapshotFaults { wrong_byte_at: Some(600), chance: FaultRate::next(1), ..SnapshotFaults::default() };
    world.backend().faults().snapshot(faults);
    let mut agent = world.start().run();
    agent.wait_for("snapshot_renewal");
    agent.wait_for("hydrate_done");
    world.in_sync(&agent);
}

#[test]
fn a_passing_fault_is_tried_again() {
    for status in [500, 503, 429] {
        let world = World::new();
        let faults = SnapshotFaults { status: Some(status), chance: FaultRate::next(2), ..SnapshotFaults::default() };
        world.backend().faults().snapshot(faults);
        let mut agent = world.start().run();
        let done = agent.wait_for("hydrate_done");
        assert_eq!(done["attempts"], 3, "{done}");
        world.in_sync(&agent);
    }
}

#[test]
fn a_download_that_breaks_is_taken_up_again() {
    for no_range in [false, true] {
        let world = World::with(|options| options.files[1].bytes = (0..=255).cycle().take(400_000).collect());
        world.backend().faults().snapshot(SnapshotFaults {
            truncate_at: Some(900),
            no_range,
            chance: FaultRate::next(2),
            ..SnapshotFaults::default()
        });
        let mut agent = world.start().run();
        agent.wait_for("hydrate_done");
        world.in_sync(&agent);
    }
}

#[test]
fn where_the_snapshot_cannot_be_had_the_database_is_read() {
    let world = World::new();
    world.backend().faults().snapshot(SnapshotFaults {
        status: Some(404),
        chance: FaultRate::with_probability(1.0),
        ..SnapshotFaults::default()
    });
    world.backend().faults().fail_renewal(403, FaultRate::with_probability(1.0));
    let mut agent = world.start().run();
    agent.wait_for("hydrate_fallback");
    world.in_sync(&agent);
    agent.wait_for("dev_server_start");
}

#[test]
fn what_is_saved_while_the_snapshot_comes_is_not_lost() {
    let world = World::with(|options| options.files[1].bytes = (0..=255).cycle().take(400_000).collect());
    let session = world.start();
    world.backend().faults().snapshot(SnapshotFaults {
        stall_at: Some(900),
        chance: FaultRate::next(1),
        ..SnapshotFaults::default()
    });
    let mut agent = session.run();
    agent.wait_for("channel_joined");
    world.save("src/saved.ts", "while hydrating");
    world.backend().faults().clear();
    eventually("hydrated and equal", || world.equal(&agent));
}

#[test]
fn what_lay_there_is_put_aside_whichever_way_the_first_state_comes() {
    for snapshot in [true, false] {
        let world = World::new();
        let start = if snapshot { world.start() } else { world.start().without("SNAPSHOT_URL") };
        let project = start.project();
        for (path, text) in [
            ("src/App.tsx", "differs"),
            ("package.json", "{\"name\":\"x\"}"),
            ("mine/deep.txt", "mine"),
            ("index.html/in/the/way.txt", "a directory where a file must go"),
            ("node_modules/left-pad/index.js", "installed"),
        ] {
            let file = project.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let inode = |path: &str| fs::metadata(project.join(path)).unwrap().ino();
        let equal = inode("package.json");
        let mut agent = start.run();
        let found = agent.wait_for("found");
        assert_eq!(found["event_type"], "found");
        agent.wait_for("dev_server_start");
        world.in_sync(&agent);
        assert_eq!(inode("package.json"), equal, "what is equal stays");
        assert!(project.join("node_modules/left-pad/index.js").exists());
        let found = fs::read_dir(agent.dir().join(".preview-agent/found")).unwrap().next().unwrap().unwrap().path();
        let aside: Vec<_> =
            tree(&found).into_iter().map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect();
        let expected = [
            ("index.html/in/the/way.txt", "a directory where a file must go"),
            ("mine/deep.txt", "mine"),
            ("src/App.tsx", "differs"),
        ];
        assert_eq!(aside, expected.map(|(path, text)| (path.to_owned(), text.to_owned())), "snapshot: {snapshot}");
    }
}
