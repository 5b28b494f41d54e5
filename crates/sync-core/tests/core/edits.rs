//! The agent's ordinary day, step by step: join, catch up, and every event of the contract.

use crate::support::{Harness, PROJECT, hash, update};
use serde_json::json;
use sync_core::{
    Answer, DegradedReason, Event, HydratedFile, Input, Op, Outcome, Output, PendingReason, ProjectPath, Read,
    ReadError, Restored, Saved, SkipReason, StageId, TableDigest,
};

#[test]
fn joins_catches_up_and_writes_an_event_in_the_same_call() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(5, &[("src/App.tsx", 1, "old")]);
    let nothing = json!({"head_revision": 5, "complete": true, "files": []});
    harness.answer(Harness::read_of(&outputs).0, nothing.clone());
    let (id, read) = harness.join();
    assert!(matches!(read, Read::Changes { since: 5, with_content: true, .. }), "{read:?}");
    harness.answer(id, nothing);
    assert!(harness.agent.status(harness.now).current);

    let outputs = harness.broadcast("file:update", update("src/App.tsx", 2, "new", Some(6)));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    let [Op::Write { path, hash: written, version: Some(2), revision: Some(6), .. }] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!((path.as_str(), *written), ("src/App.tsx", hash("new")));
    harness.pass(30);
    let outputs = harness.written(*batch, ops, |_| Outcome::Changed { created: false, bytes: 3 });
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Event(Event::FileApplied { lag, .. }) if lag.as_millis() == 30))
    );
    assert_eq!(harness.agent.status(harness.now).revision, 6);
    assert!(harness.agent.status(harness.now).current);

    // The same content again is no write, and an old event is none either.
    assert_eq!(harness.writes("file:update", update("src/App.tsx", 3, "new", Some(7))), []);
    assert_eq!(harness.writes("file:update", update("src/App.tsx", 2, "old", Some(6))), []);
    // A tombstone outlives the late update.
    let ops = harness.writes("file:delete", json!({"file_path": "src/App.tsx", "version": 4, "revision": 8}));
    assert!(matches!(&ops[..], [Op::Delete { .. }]), "{ops:?}");
    assert_eq!(harness.writes("file:update", update("src/App.tsx", 3, "late", Some(7))), []);
}

#[test]
fn a_gap_is_read_and_an_unreachable_event_is_dropped() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let outputs = harness.broadcast("file:update", update("b", 1, "b7", Some(7)));
    let (id, read) = Harness::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 5, .. }));
    harness.answer(
        id,
        json!({"head_revision": 6, "complete": true, "files": [
            {"file_path": "a", "version": 1, "revision": 6, "content_hash": hash("a6").to_string(), "content": "a6"},
        ]}),
    );
    // The held event is the next one now: both are on their way to the disk.
    assert_eq!(harness.agent.status(harness.now).revision, 7);
    let outputs = harness.broadcast("file:update", update("c", 1, "c", Some(1_000_000_000)));
    let (id, _) = Harness::read_of(&outputs);
    let outputs = harness.answer(id, json!({"head_revision": 7, "complete": true, "files": []}));
    assert_eq!(harness.agent.status(harness.now).held, 1, "the commit may only not be readable yet");
    let nothing = json!({"head_revision": 7, "complete": true, "files": []});
    let outputs = harness.serve(outputs, 11_500, |_, _| Ok(nothing.clone()));
    assert!(
        outputs.iter().any(|o| matches!(o, Output::Event(Event::Skipped { reason: SkipReason::Unreachable }))),
        "{outputs:?}"
    );
    assert_eq!(harness.agent.status(harness.now).held, 0);
}

#[test]
fn a_bulk_waits_for_omitted_content_and_goes_in_order() {
    let mut harness = Harness::new();
    harness.start(5, &[("gone", 1, "x"), ("old", 1, "x")]);
    let bulk = json!({"revision": 6, "count": 4, "files": [
        {"action": "delete", "file_path": "gone", "version": 2},
        {"action": "update", "file_path": "package.json", "version": 1, "content": "{}", "content_hash": hash("{}").to_string()},
        {"action": "update", "file_path": "old", "version": 2, "content": "y", "content_hash": hash("y").to_string()},
        {"action": "update", "file_path": "big", "version": 1, "content_omitted": true, "content_hash": hash("big").to_string()},
    ]});
    let outputs = harness.broadcast("bulk:apply", bulk);
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::File { path: "big".into(), version: 1 });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Write(..))));
    let outputs = harness.answer(
        id,
        json!({"file_path": "big", "version": 1, "content": "big", "content_hash": hash("big").to_string()}),
    );
    let ops = Harness::ops_of(&outputs);
    let paths: Vec<&str> = ops.iter().map(|op| op.path().as_str()).collect();
    assert_eq!(paths, ["big", "old", "package.json", "gone"]);
}

#[test]
fn a_bulk_is_written_without_content_that_takes_longer_than_five_seconds() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    harness.broadcast("bulk:apply", json!({"revision": 6, "files": [
        {"action": "update", "file_path": "small", "version": 1, "content": "s", "content_hash": hash("s").to_string()},
        {"action": "update", "file_path": "big", "version": 1, "content_omitted": true, "content_hash": hash("big").to_string()},
    ]}));
    assert!(harness.tick_until(4_900).iter().all(|output| !matches!(output, Output::Write(..))));
    let outputs = harness.tick_until(200);
    assert_eq!(Harness::ops_of(&outputs).len(), 1);
    assert_eq!(harness.agent.status(harness.now).pending_files.len(), 1);
}

#[test]
fn storage_content_comes_as_an_asset() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let outputs = harness.broadcast(
        "file:update",
        json!({"file_path": "logo.png", "version": 1, "revision": 6,
        "content_omitted": true, "size": 4, "content_hash": hash("logo").to_string()}),
    );
    let (id, _) = Harness::read_of(&outputs);
    let outputs = harness.answer(id, json!({"file_path": "logo.png", "version": 1, "content": null, "content_hash": hash("logo").to_string(), "size": 4}));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::Asset { hash: hash("logo"), size: Some(4) });
    let outputs = harness.read(id, Ok(Answer::Staged(sync_core::StageId(3))));
    assert_eq!(Harness::ops_of(&outputs).len(), 1);
}

#[test]
fn content_that_disagrees_twice_is_unverifiable_and_never_written() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let mut lie = update("a", 1, "truth", Some(6));
    lie["content"] = "lie".into();
    let mut outputs = harness.broadcast("file:update", lie);
    for _ in 0..2 {
        let (id, read) = Harness::read_of(&outputs);
        assert_eq!(*read, Read::File { path: "a".into(), version: 1 });
        outputs = harness.answer(
            id,
            json!({"file_path": "a", "version": 1, "content": "lie", "content_hash": hash("truth").to_string()}),
        );
    }
    let pending = harness.agent.status(harness.now).pending_files;
    assert_eq!((pending[0].path.as_str(), pending[0].reason), ("a", PendingReason::Unverifiable));
    // A new row heals it.
    assert_eq!(harness.writes("file:update", update("a", 2, "good", Some(7))).len(), 1);
    assert!(harness.agent.status(harness.now).pending_files.is_empty());
}

#[test]
fn rejected_paths_enter_the_table_and_the_digest_but_never_the_disk() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    assert_eq!(harness.writes("file:update", update("../etc/passwd", 1, "x", Some(6))), []);
    assert_eq!(harness.writes("file:update", update("node_modules/a/index.js", 1, "x", Some(7))), []);
    let status = harness.agent.status(harness.now);
    assert_eq!((status.revision, status.files, status.current), (7, 2, true));
}

#[test]
fn a_legacy_database_is_compared_by_its_listing() {
    let mut harness = Harness::new();
    harness.hydrate_without_manifest(&[("kept", "k"), ("gone", "g"), ("also", "a"), ("more", "m")]);
    let (id, _) = harness.join();
    let outputs = harness.read(id, Err(ReadError::NoSuchFunction));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFiles { after: String::new() });
    let row =
        |path: &str, content: &str| json!({"file_path": path, "version": 1, "content_hash": hash(content).to_string()});
    let outputs = harness.answer(id, json!([row("also", "a"), row("kept", "k"), row("more", "m"), row("new", "n")]));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFiles { after: "new".into() });
    let outputs = harness.answer(id, json!([]));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFile { path: "new".into() });
    assert!(matches!(Harness::ops_of(&outputs)[..], [Op::Delete { .. }]));
    harness
        .answer(id, json!([{"file_path": "new", "version": 1, "content": "n", "content_hash": hash("n").to_string()}]));
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::LegacyDatabase));
}

#[test]
fn a_provisional_file_is_removed_unless_the_database_has_it() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let outputs = harness.broadcast("file:update", update("draft", 1, "d", None));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    harness.written(*batch, ops, |_| Outcome::Changed { created: true, bytes: 1 });
    let status = harness.agent.status(harness.now);
    assert_eq!(
        (status.pending_files[0].reason, status.revision, status.current),
        (PendingReason::Provisional, 5, false)
    );
    let outputs = harness.tick_until(2_000);
    let (id, _) = Harness::read_of(&outputs);
    let outputs = harness.answer(id, json!({"head_revision": 5, "complete": true, "files": []}));
    assert!(matches!(Harness::ops_of(&outputs)[..], [Op::Delete { .. }]), "{outputs:?}");
}

/// Found by the simulator: the wish to confirm was taken for answered by a later page of an older catch-up.
#[test]
fn a_running_read_does_not_confirm_a_later_event() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    harness.writes("file:update", update("draft", 1, "d", None));
    harness.tick_until(1_400);
    let outputs = harness.broadcast("file:update", update("x", 1, "x", Some(8)));
    let (first, _) = Harness::read_of(&outputs);
    harness.tick_until(300);
    let row = |path: &str, revision: u64| json!({"file_path": path, "version": 1, "revision": revision, "content": "x", "content_hash": hash("x").to_string()});
    let outputs = harness.answer(first, json!({"head_revision": 8, "complete": false, "files": [row("y", 6)]}));
    let (second, _) = Harness::read_of(&outputs);
    let outputs =
        harness.answer(second, json!({"head_revision": 8, "complete": true, "files": [row("z", 7), row("x", 8)]}));
    let (third, read) = Harness::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 8, .. }));
    harness.answer(third, json!({"head_revision": 8, "complete": true, "files": []}));
    assert!(
        harness.agent.status(harness.now).pending_files.iter().all(|file| file.reason != PendingReason::Provisional)
    );
}

/// Found by the simulator.
#[test]
fn an_object_that_is_not_needed_any_more_leaves_the_stage() {
    let mut harness = Harness::new();
    harness.start(5, &[("a", 1, "X")]);
    let outputs = harness.broadcast("file:update", update("a", 2, "Y", Some(6)));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    let back = json!({"file_path": "a", "version": 3, "revision": 7, "content_omitted": true, "content_hash": hash("X").to_string()});
    let outputs = harness.broadcast("file:update", back);
    let (id, _) = Harness::read_of(&outputs);
    let outputs = harness
        .answer(id, json!({"file_path": "a", "version": 3, "content": null, "content_hash": hash("X").to_string()}));
    let (id, _) = Harness::read_of(&outputs);
    harness.read(id, Ok(Answer::Staged(StageId(3))));
    let outputs =
        harness.written(*batch, ops, |_| Outcome::Failed { reason: PendingReason::NoSpace, error: String::new() });
    assert!(outputs.iter().any(|output| matches!(output, Output::Discard(StageId(3)))), "{outputs:?}");
    assert!(harness.agent.status(harness.now).current);
}

#[test]
fn a_wrong_table_is_detected_by_its_digest_and_repaired_file_by_file() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(5, &[("same", 1, "s"), ("wrong", 1, "old"), ("gone", 1, "g")]);
    let mut digest = TableDigest::default();
    digest.toggle("same", 1, &hash("s"));
    digest.toggle("wrong", 2, &hash("new"));
    let answer = |files: serde_json::Value| json!({"head_revision": 5, "complete": true, "digest": digest.to_string(), "files": files});
    let outputs = harness.answer(Harness::read_of(&outputs).0, answer(json!([])));
    let (id, read) = Harness::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 0, with_content: false, .. }), "{read:?}");
    let row = |path: &str, version: u64, content: &str| json!({"file_path": path, "version": version, "revision": 4, "content": null, "content_hash": hash(content).to_string()});
    let outputs = harness.answer(id, answer(json!([row("same", 1, "s"), row("wrong", 2, "new")])));
    assert_eq!(*Harness::read_of(&outputs).1, Read::File { path: "wrong".into(), version: 2 });
    assert!(matches!(&Harness::ops_of(&outputs)[..], [Op::Delete { path, .. }] if path.as_str() == "gone"));
    assert_eq!(harness.agent.status(harness.now).digest, digest);
}

#[test]
fn a_wrong_digest_of_the_database_is_shown_and_listed_once() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(5, &[("a", 1, "a")]);
    let wrong = "1".repeat(64);
    let answer =
        |files: serde_json::Value| json!({"head_revision": 5, "complete": true, "digest": wrong, "files": files});
    let outputs = harness.answer(Harness::read_of(&outputs).0, answer(json!([])));
    let (id, _) = Harness::read_of(&outputs);
    let row = json!({"file_path": "a", "version": 1, "revision": 4, "content_hash": hash("a").to_string()});
    let outputs = harness.answer(id, answer(json!([row])));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read(..))), "{outputs:?}");
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::DigestWrong));
    // The head is looked at again, and says the same: no further listing.
    for _ in 0..3 {
        let reads = harness.tick_until(40_000);
        let heads: Vec<_> = reads
            .iter()
            .filter_map(|o| if let Output::Read(id, read) = o { Some((*id, read)) } else { None })
            .collect();
        for (id, read) in heads {
            assert_eq!(*read, Read::Head);
            harness.answer(id, json!({"head_revision": 5, "digest": wrong}));
        }
    }
}

#[test]
fn an_answer_that_removes_over_half_of_the_files_is_asked_for_twice_and_then_obeyed() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(9, &[("a", 1, "a"), ("b", 1, "b"), ("c", 1, "c")]);
    let (id, _) = Harness::read_of(&outputs);
    let reset = json!({"head_revision": 3, "complete": true, "reset": true, "files": [
        {"file_path": "a", "version": 1, "revision": 1, "content_hash": hash("a").to_string(), "content_omitted": true},
    ]});
    let outputs = harness.answer(id, reset.clone());
    let mut listings = 0;
    let outputs = harness.serve(outputs, 11_500, |_, read| match read {
        Read::Head => Ok(json!({"head_revision": 3, "digest": "0".repeat(64)})),
        Read::Changes { since: 9, .. } => {
            listings += 1;
            Ok(reset.clone())
        }
        // The full listing that follows because of the digest.
        _ => Ok(json!({"head_revision": 3, "complete": true, "files": reset["files"]})),
    });
    assert_eq!(Harness::ops_of(&outputs).len(), 2);
    assert_eq!(listings, 2, "it still stood after 10 s, and again because of what it removes");
    assert_eq!(harness.agent.status(harness.now).revision, 3, "a restored backup goes downwards");
}

#[test]
fn rows_of_the_table_are_nudges_that_lead_to_one_read() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let row =
        json!({"data": {"type": "INSERT", "record": {"file_path": "a", "version": 9, "content": "x"}}, "ids": [1]});
    for _ in 0..20 {
        let outputs =
            harness.frame(json!([null, null, sync_core::wire::project_topic(PROJECT), "postgres_changes", row]));
        assert!(outputs.is_empty(), "{outputs:?}");
    }
    let outputs = harness.tick_until(1_000);
    assert_eq!(outputs.iter().filter(|output| matches!(output, Output::Read(..))).count(), 1);
    assert_eq!(harness.agent.status(harness.now).revision, 5);
}

#[test]
fn a_failed_write_stays_pending_blocks_nothing_and_is_resolved() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let outputs = harness.broadcast("file:update", update("a", 1, "a", Some(6)));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    harness.written(*batch, ops, |_| Outcome::Failed { reason: PendingReason::NoSpace, error: "28".into() });
    assert_eq!(harness.agent.status(harness.now).pending_files[0].reason, PendingReason::NoSpace);
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::PendingFiles));
    assert_eq!(harness.writes("file:update", update("b", 1, "b", Some(7))).len(), 1);
    let outputs = harness.tick_until(1_000);
    let Some((batch, ops)) =
        outputs.iter().find_map(|o| if let Output::Write(batch, ops) = o { Some((*batch, ops)) } else { None })
    else {
        panic!("{outputs:?}")
    };
    let outputs = harness.written(batch, ops, |_| Outcome::Changed { created: true, bytes: 1 });
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(Event::PendingFileResolved { .. }))));
    assert!(harness.agent.status(harness.now).current);
}

#[test]
fn later_changes_of_a_path_gather_while_a_batch_is_running() {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    let outputs = harness.broadcast("file:update", update("a", 1, "1", Some(6)));
    let Some(Output::Write(batch, first)) = outputs.first() else { panic!("{outputs:?}") };
    for version in 2..10 {
        assert_eq!(
            Harness::ops_of(
                &harness.broadcast("file:update", update("a", version, &version.to_string(), Some(5 + version)))
            ),
            []
        );
    }
    let outputs = harness.written(*batch, first, |_| Outcome::Changed { created: true, bytes: 1 });
    let ops = Harness::ops_of(&outputs);
    assert!(matches!(&ops[..], [Op::Write { version: Some(9), .. }]), "only the newest is written: {ops:?}");
}

fn digest_of_a() -> TableDigest {
    let mut digest = TableDigest::default();
    digest.toggle("a", 1, &hash("a"));
    digest
}

fn row(path: &str, revision: u64) -> serde_json::Value {
    json!({"file_path": path, "version": 1, "revision": revision, "content": path, "content_hash": hash(path).to_string()})
}

/// Of a database at revision 5.
fn page_of_five(digest: &TableDigest, complete: bool, files: serde_json::Value) -> serde_json::Value {
    json!({"head_revision": 5, "complete": complete, "digest": digest.to_string(), "files": files})
}

/// Found by the simulator: a backup restored between two pages made a listing that was never true.
#[test]
fn pages_that_do_not_fit_together_are_listed_again_before_the_digest_counts_as_wrong() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(0, &[]);
    let digest = digest_of_a();
    let page = |complete, files| page_of_five(&digest, complete, files);
    let outputs = harness.answer(Harness::read_of(&outputs).0, page(false, json!([row("b", 4)])));
    let outputs = harness.answer(Harness::read_of(&outputs).0, page(true, json!([row("c", 5)])));
    let (id, read) = Harness::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 0, .. }));
    assert!(!harness.agent.status(harness.now).degraded.contains(&DegradedReason::DigestWrong));
    harness.answer(id, page(true, json!([row("a", 3)])));
    let status = harness.agent.status(harness.now);
    assert_eq!((status.digest, status.files), (digest, 1));
}

/// Found by the simulator: the listing that was to tell whether the first was torn was torn itself.
#[test]
fn only_two_equal_listings_show_that_the_digest_is_wrong() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(0, &[]);
    let digest = digest_of_a();
    let page = |complete, files| page_of_five(&digest, complete, files);
    let mut read = Harness::read_of(&outputs).0;
    let blamed = |harness: &Harness| harness.agent.status(harness.now).degraded.contains(&DegradedReason::DigestWrong);
    for torn in ["b", "d"] {
        let outputs = harness.answer(read, page(false, json!([row(torn, 4)])));
        let outputs = harness.answer(Harness::read_of(&outputs).0, page(true, json!([row("c", 5)])));
        assert!(!blamed(&harness));
        read = Harness::read_of(&outputs).0;
    }
    let outputs = harness.answer(read, page(false, json!([row("d", 4)])));
    let outputs = harness.answer(Harness::read_of(&outputs).0, page(true, json!([row("c", 5)])));
    assert!(blamed(&harness));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read(_, Read::Changes { .. }))), "{outputs:?}");
}

#[test]
fn a_kept_directory_is_compared_with_its_state_once_the_table_is_up_to_date() {
    let mut harness = Harness::new();
    harness.start(5, &[("same", 1, "s"), ("damaged", 1, "d"), ("missing", 1, "m"), ("gone", 1, "g")]);
    let saved = harness.agent.saved().expect("state").encode();

    let mut harness = Harness::new();
    let file = |path: &str, content: &str| HydratedFile {
        path: ProjectPath::parse(path).unwrap(),
        version: None,
        hash: hash(content),
        size: 1,
    };
    let files =
        vec![file("same", "s"), file("damaged", "?"), file("gone", "g"), file("younger", "y"), file("draft", "x")];
    let saved = Saved::decode(saved.as_bytes(), PROJECT).expect("what was written");
    let outputs = harness.handle(Input::Restored(Restored { saved, files }));
    assert_eq!(Harness::ops_of(&outputs), [], "nothing is known yet of what came after the state");
    let (id, read) = Harness::read_of(&outputs);
    assert!(matches!(read, Read::Changes { since: 5, .. }));
    let outputs = harness.answer(id, json!({"head_revision": 7, "complete": true, "files": [
        {"file_path": "younger", "version": 1, "revision": 6, "content": "y", "content_hash": hash("y").to_string()},
        {"file_path": "gone", "version": 2, "revision": 7, "is_deleted": true},
    ]}));
    let mut paths: Vec<String> = Harness::ops_of(&outputs).iter().map(|op| op.path().to_string()).collect();
    paths.sort();
    assert_eq!(paths, ["draft", "gone"], "what no row knows goes, what is already there is not written");
    let fetched: Vec<&Read> =
        outputs.iter().filter_map(|o| if let Output::Read(_, read) = o { Some(read) } else { None }).collect();
    assert_eq!(
        fetched,
        [&Read::File { path: "damaged".into(), version: 1 }, &Read::File { path: "missing".into(), version: 1 }]
    );
}
