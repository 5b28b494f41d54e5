//! The agent's ordinary day, step by step: join, catch up, and every event of the contract.

mod common;

use common::{Desk, hash, update};
use serde_json::json;
use sync_core::{Answer, Event, Op, Outcome, Output, Read, ReadError, Reason};

#[test]
fn joins_catches_up_and_writes_an_event_in_the_same_call() {
    let mut desk = Desk::new();
    let outputs = desk.hydrate(5, &[("src/App.tsx", 1, "old")]);
    let nothing = json!({"head_revision": 5, "complete": true, "files": []});
    desk.answer(Desk::read_of(&outputs).0, nothing.clone());
    let (id, read) = desk.join();
    assert!(matches!(read, Read::Changes { since: 5, with_content: true, .. }), "{read:?}");
    desk.answer(id, nothing);
    assert!(desk.agent.status(desk.now).current);

    let outputs = desk.broadcast("file:update", update("src/App.tsx", 2, "new", Some(6)));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    let [Op::Write { path, hash: written, version: Some(2), revision: Some(6), .. }] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!((path.as_str(), *written), ("src/App.tsx", hash("new")));
    desk.pass(30);
    let outputs = desk.written(*batch, ops, |_| Outcome::Changed { created: false, bytes: 3 });
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Event(Event::FileApplied { lag, .. }) if lag.as_millis() == 30))
    );
    assert_eq!(desk.agent.status(desk.now).revision, 6);
    assert!(desk.agent.status(desk.now).current);

    // The same content again is no write, and an old event is none either.
    assert_eq!(desk.writes("file:update", update("src/App.tsx", 3, "new", Some(7))), []);
    assert_eq!(desk.writes("file:update", update("src/App.tsx", 2, "old", Some(6))), []);
    // A tombstone outlives the late update.
    let ops = desk.writes("file:delete", json!({"file_path": "src/App.tsx", "version": 4, "revision": 8}));
    assert!(matches!(&ops[..], [Op::Delete { .. }]), "{ops:?}");
    assert_eq!(desk.writes("file:update", update("src/App.tsx", 3, "late", Some(7))), []);
}

#[test]
fn a_gap_is_read_and_what_stays_out_of_reach_is_dropped() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    let outputs = desk.broadcast("file:update", update("b", 1, "b7", Some(7)));
    let (id, read) = Desk::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 5, .. }));
    desk.answer(
        id,
        json!({"head_revision": 6, "complete": true, "files": [
            {"file_path": "a", "version": 1, "revision": 6, "content_hash": hash("a6").to_string(), "content": "a6"},
        ]}),
    );
    // The held event is the next one now: both are on their way to the disk.
    assert_eq!(desk.agent.status(desk.now).revision, 7);
    let outputs = desk.broadcast("file:update", update("c", 1, "c", Some(1_000_000_000)));
    let (id, _) = Desk::read_of(&outputs);
    let outputs = desk.answer(id, json!({"head_revision": 7, "complete": true, "files": []}));
    assert!(
        outputs.iter().any(|o| matches!(o, Output::Event(Event::Skipped { reason: "unreachable" }))),
        "{outputs:?}"
    );
    assert_eq!(desk.agent.status(desk.now).held, 0);
}

#[test]
fn a_bulk_waits_for_omitted_content_and_goes_in_order() {
    let mut desk = Desk::new();
    desk.start(5, &[("gone", 1, "x"), ("old", 1, "x")]);
    let bulk = json!({"revision": 6, "count": 4, "files": [
        {"action": "delete", "file_path": "gone", "version": 2},
        {"action": "update", "file_path": "package.json", "version": 1, "content": "{}", "content_hash": hash("{}").to_string()},
        {"action": "update", "file_path": "old", "version": 2, "content": "y", "content_hash": hash("y").to_string()},
        {"action": "update", "file_path": "big", "version": 1, "content_omitted": true, "content_hash": hash("big").to_string()},
    ]});
    let outputs = desk.broadcast("bulk:apply", bulk);
    let (id, read) = Desk::read_of(&outputs);
    assert_eq!(*read, Read::File { path: "big".into(), version: 1 });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Write(..))));
    let outputs = desk.answer(
        id,
        json!({"file_path": "big", "version": 1, "content": "big", "content_hash": hash("big").to_string()}),
    );
    let ops = Desk::ops_of(&outputs);
    let paths: Vec<&str> = ops.iter().map(|op| op.path().as_str()).collect();
    assert_eq!(paths, ["big", "old", "package.json", "gone"]);
}

#[test]
fn a_bulk_goes_without_what_takes_longer_than_five_seconds() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    desk.broadcast("bulk:apply", json!({"revision": 6, "files": [
        {"action": "update", "file_path": "small", "version": 1, "content": "s", "content_hash": hash("s").to_string()},
        {"action": "update", "file_path": "big", "version": 1, "content_omitted": true, "content_hash": hash("big").to_string()},
    ]}));
    assert!(desk.tick_until(4_900).iter().all(|output| !matches!(output, Output::Write(..))));
    let outputs = desk.tick_until(200);
    assert_eq!(Desk::ops_of(&outputs).len(), 1);
    assert_eq!(desk.agent.status(desk.now).debts.len(), 1);
}

#[test]
fn storage_content_comes_as_an_asset() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    let outputs = desk.broadcast(
        "file:update",
        json!({"file_path": "logo.png", "version": 1, "revision": 6,
        "content_omitted": true, "size": 4, "content_hash": hash("logo").to_string()}),
    );
    let (id, _) = Desk::read_of(&outputs);
    let outputs = desk.answer(id, json!({"file_path": "logo.png", "version": 1, "content": null, "content_hash": hash("logo").to_string(), "size": 4}));
    let (id, read) = Desk::read_of(&outputs);
    assert_eq!(*read, Read::Asset { hash: hash("logo"), size: Some(4) });
    let outputs = desk.read(id, Ok(Answer::Staged(sync_core::StageId(3))));
    assert_eq!(Desk::ops_of(&outputs).len(), 1);
}

#[test]
fn content_that_disagrees_twice_is_unverifiable_and_never_written() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    let mut lie = update("a", 1, "truth", Some(6));
    lie["content"] = "lie".into();
    let mut outputs = desk.broadcast("file:update", lie);
    for _ in 0..2 {
        let (id, read) = Desk::read_of(&outputs);
        assert_eq!(*read, Read::File { path: "a".into(), version: 1 });
        outputs = desk.answer(
            id,
            json!({"file_path": "a", "version": 1, "content": "lie", "content_hash": hash("truth").to_string()}),
        );
    }
    let debts = desk.agent.status(desk.now).debts;
    assert_eq!((debts[0].0.as_str(), debts[0].1), ("a", "unverifiable"));
    // A new row heals it.
    assert_eq!(desk.writes("file:update", update("a", 2, "good", Some(7))).len(), 1);
    assert!(desk.agent.status(desk.now).debts.is_empty());
}

#[test]
fn refused_paths_enter_the_table_and_the_digest_but_never_the_disk() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    assert_eq!(desk.writes("file:update", update("../etc/passwd", 1, "x", Some(6))), []);
    assert_eq!(desk.writes("file:update", update("node_modules/a/index.js", 1, "x", Some(7))), []);
    let status = desk.agent.status(desk.now);
    assert_eq!((status.revision, status.files, status.current), (7, 2, true));
}

#[test]
fn an_older_database_is_compared_by_its_listing() {
    let mut desk = Desk::new();
    desk.hydrate_without_manifest(&[("kept", "k"), ("gone", "g"), ("also", "a"), ("more", "m")]);
    let (id, _) = desk.join();
    let outputs = desk.read(id, Err(ReadError::NoSuchFunction));
    let (id, read) = Desk::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFiles { after: String::new() });
    let row =
        |path: &str, content: &str| json!({"file_path": path, "version": 1, "content_hash": hash(content).to_string()});
    let outputs = desk.answer(id, json!([row("also", "a"), row("kept", "k"), row("more", "m"), row("new", "n")]));
    let (id, read) = Desk::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFiles { after: "new".into() });
    let outputs = desk.answer(id, json!([]));
    let (id, read) = Desk::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFile { path: "new".into() });
    assert!(matches!(Desk::ops_of(&outputs)[..], [Op::Delete { .. }]));
    desk.answer(id, json!([{"file_path": "new", "version": 1, "content": "n", "content_hash": hash("n").to_string()}]));
    assert!(desk.agent.status(desk.now).degraded.contains(&Reason::OlderDatabase));
}

#[test]
fn a_provisional_file_goes_again_unless_the_database_knows_it() {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    let outputs = desk.broadcast("file:update", update("draft", 1, "d", None));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    desk.written(*batch, ops, |_| Outcome::Changed { created: true, bytes: 1 });
    let status = desk.agent.status(desk.now);
    assert_eq!((status.debts[0].1, status.revision, status.current), ("provisional", 5, false));
    let outputs = desk.tick_until(2_000);
    let (id, _) = Desk::read_of(&outputs);
    let outputs = desk.answer(id, json!({"head_revision": 5, "complete": true, "files": []}));
    assert!(matches!(Desk::ops_of(&outputs)[..], [Op::Delete { .. }]), "{outputs:?}");
}
