//! Files that the project's own code changed: left alone until the database changes them, or put back.

use crate::support::{Harness, hash, options, update};
use serde_json::json;
use sync_core::{
    ContentHash, Event, HydratedFile, Input, LocalChange, LocalChangePolicy, Op, Outcome, Output, PendingReason,
    ProjectPath, Read, Restored,
};

fn path(text: &str) -> ProjectPath {
    ProjectPath::parse(text).unwrap()
}

fn seen(at: &str, hash: Option<ContentHash>) -> Input {
    Input::Observed(vec![LocalChange { path: path(at), hash }])
}

/// What is shown: path and hash.
fn shown(harness: &Harness) -> Vec<(String, Option<ContentHash>)> {
    let changes = harness.agent.status(harness.now).local_changes;
    changes.into_iter().map(|change| (change.path.to_string(), change.hash)).collect()
}

fn started() -> Harness {
    let mut harness = Harness::new();
    harness.start(5, &[("a", 1, "a"), ("b", 1, "b")]);
    harness
}

fn restoring() -> Harness {
    let mut harness = Harness::with(sync_core::Options { local_changes: LocalChangePolicy::Restore, ..options() });
    harness.start(5, &[("a", 1, "a"), ("b", 1, "b")]);
    harness
}

#[test]
fn is_shown_reported_once_and_not_put_back() {
    let mut harness = started();
    let outputs = harness.handle(seen("a", Some(hash("mine"))));
    assert!(
        matches!(&outputs[..], [Output::Event(Event::LocalChange { path, removed: false })] if path.as_str() == "a"),
        "{outputs:?}"
    );
    assert!(harness.handle(seen("a", Some(hash("mine, again")))).is_empty());
    harness.handle(seen("b", None));
    assert_eq!(shown(&harness), [("a".into(), Some(hash("mine, again"))), ("b".into(), None)]);
    let status = harness.agent.status(harness.now);
    assert!(status.current && status.pending_files.is_empty(), "it is no debt");
    harness.handle(seen("a", Some(hash("a"))));
    assert_eq!(shown(&harness), [("b".into(), None)], "put back by its author");
}

#[test]
fn a_file_that_the_database_does_not_have_is_not_a_local_change() {
    let mut harness = started();
    assert!(harness.handle(seen("foreign", Some(hash("x")))).is_empty());
    assert_eq!(shown(&harness), []);
}

#[test]
fn a_change_by_the_database_ends_it() {
    let mut harness = started();
    harness.handle(seen("a", Some(hash("mine"))));
    harness.handle(seen("b", Some(hash("mine"))));
    // The row's content is what it was: still its newest word.
    let ops = harness.writes("file:update", update("a", 2, "a", Some(6)));
    assert!(matches!(&ops[..], [Op::Write { path, .. }] if path.as_str() == "a"), "{ops:?}");
    let ops = harness.writes("file:delete", json!({"file_path": "b", "version": 2, "revision": 7}));
    assert!(matches!(&ops[..], [Op::Delete { path, .. }] if path.as_str() == "b"), "{ops:?}");
    assert_eq!(shown(&harness), []);
}

#[test]
fn a_row_equal_to_the_local_change_writes_nothing() {
    let mut harness = started();
    harness.handle(seen("a", Some(hash("mine"))));
    harness.handle(seen("b", None));
    assert_eq!(harness.writes("file:update", update("a", 2, "mine", Some(6))), []);
    assert_eq!(harness.writes("file:delete", json!({"file_path": "b", "version": 2, "revision": 7})), []);
    assert_eq!(shown(&harness), []);
    assert!(harness.agent.status(harness.now).current);
}

#[test]
fn a_file_that_is_being_written_is_not_a_local_change() {
    let mut harness = started();
    let outputs = harness.broadcast("file:update", update("a", 2, "new", Some(6)));
    let Some(Output::Write(batch, ops)) = outputs.first() else { panic!("{outputs:?}") };
    assert!(harness.handle(seen("a", Some(hash("mine")))).is_empty());
    harness.written(*batch, ops, |_| Outcome::Failed { reason: PendingReason::NoSpace, error: String::new() });
    assert_eq!(shown(&harness), []);
    // The row goes back to what stood there before: but it does not stand there any more.
    let ops = harness.writes("file:update", update("a", 3, "a", Some(7)));
    assert!(matches!(&ops[..], [Op::Write { .. }]), "{ops:?}");
}

#[test]
fn is_put_back_from_the_database_with_the_restore_policy() {
    let mut harness = restoring();
    let outputs = harness.handle(seen("a", None));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::File { path: "a".into(), version: 1 });
    let content = json!({"file_path": "a", "version": 1, "content": "a", "content_hash": hash("a").to_string()});
    let outputs = harness.answer(id, content);
    assert!(matches!(&Harness::ops_of(&outputs)[..], [Op::Write { path, .. }] if path.as_str() == "a"), "{outputs:?}");
}

#[test]
fn a_file_that_changes_again_and_again_is_put_back_less_and_less_often() {
    let mut harness = restoring();
    let mut reads = 0;
    // For two minutes, a generator writes it after each restore.
    for second in 0..120 {
        let mut outputs = harness.tick_until(1_000);
        outputs.extend(harness.handle(seen("a", Some(hash(&format!("generated {second}"))))));
        while outputs.iter().any(|output| matches!(output, Output::Read(_, Read::File { .. }))) {
            reads += 1;
            let (id, _) = Harness::read_of(&outputs);
            let content =
                json!({"file_path": "a", "version": 1, "content": "a", "content_hash": hash("a").to_string()});
            let written = harness.answer(id, content);
            let Some(Output::Write(batch, ops)) = written.iter().find(|o| matches!(o, Output::Write(..))) else {
                panic!("{written:?}")
            };
            outputs = harness.written(*batch, ops, |_| Outcome::Changed { created: false, bytes: 1 });
        }
    }
    assert!((4..=10).contains(&reads), "{reads} restores");
}

/// A start from kept state in which `a` was noted as changed and `b` as removed.
fn kept(policy: LocalChangePolicy, files: &[(&str, &str)]) -> (Harness, Vec<Output>) {
    let mut before = started();
    before.handle(seen("a", Some(hash("mine"))));
    before.handle(seen("b", None));
    let saved = before.agent.saved().unwrap();
    let file = |(at, text): &(&str, &str)| HydratedFile {
        path: path(at),
        version: None,
        hash: hash(text),
        size: text.len() as u64,
    };
    let mut harness = Harness::with(sync_core::Options { local_changes: policy, ..options() });
    let restored = Restored { saved, files: files.iter().map(file).collect() };
    let outputs = harness.handle(Input::Restored(restored));
    let nothing = json!({"head_revision": 5, "complete": true, "files": []});
    let outputs = harness.answer(Harness::read_of(&outputs).0, nothing);
    (harness, outputs)
}

fn asked_for(outputs: &[Output]) -> Vec<String> {
    let read = |output: &Output| match output {
        Output::Read(_, Read::File { path, .. }) => Some(path.clone()),
        _ => None,
    };
    outputs.iter().filter_map(read).collect()
}

#[test]
fn outlives_a_restart() {
    let (harness, outputs) = kept(LocalChangePolicy::Keep, &[("a", "mine")]);
    assert_eq!(asked_for(&outputs), [""; 0]);
    assert_eq!(shown(&harness), [("a".into(), Some(hash("mine"))), ("b".into(), None)]);
}

#[test]
fn an_unrecorded_change_is_put_back_at_the_next_start() {
    let (harness, outputs) = kept(LocalChangePolicy::Keep, &[("a", "mine, unseen"), ("b", "back, unseen")]);
    assert_eq!(asked_for(&outputs), ["a", "b"]);
    assert_eq!(shown(&harness), []);
}

#[test]
fn the_restore_policy_puts_back_what_an_earlier_start_left() {
    let (_, outputs) = kept(LocalChangePolicy::Restore, &[("a", "mine")]);
    assert_eq!(asked_for(&outputs), ["a", "b"]);
}
