//! What a peer must never say, and what the agent makes of it: nothing false on disk, nothing removed, no storm of
//! reads, and right again as soon as the peer is.

use crate::support::{Harness, PROJECT, hash, update};
use serde_json::{Value, json};
use sync_core::{
    DegradedReason, Event, Input, Op, Output, PendingReason, Read, ReadId, Saved, SavedError, SkipReason, SocketEvent,
    TableDigest,
};

const FILES: [(&str, u64, &str); 3] = [("a", 1, "a"), ("b", 1, "b"), ("c", 1, "c")];

fn started() -> Harness {
    let mut harness = Harness::new();
    harness.start(5, &FILES);
    harness
}

fn reads(outputs: &[Output]) -> Vec<(ReadId, Read)> {
    let of = |output: &Output| if let Output::Read(id, read) = output { Some((*id, read.clone())) } else { None };
    outputs.iter().filter_map(of).collect()
}

fn listed(path: &str, version: u64, revision: u64, content: &str) -> Value {
    json!({"file_path": path, "version": version, "revision": revision, "content": content, "encoding": "utf-8",
        "content_hash": hash(content).to_string(), "size": content.len(), "is_deleted": false})
}

fn page(head: u64, complete: bool, files: &[Value]) -> Value {
    json!({"head_revision": head, "complete": complete, "files": files})
}

/// The state as `FILES` says, at revision 5.
fn digest() -> String {
    let mut digest = TableDigest::default();
    FILES.iter().for_each(|(path, version, content)| digest.toggle(path, *version, &hash(content)));
    digest.to_string()
}

#[test]
fn content_that_does_not_match_its_hash_is_fetched_instead() {
    let mut harness = started();
    let mut lie = update("a", 2, "good", Some(6));
    lie["content"] = "bad".into();
    let outputs = harness.broadcast("file:update", lie);
    assert_eq!(Harness::ops_of(&outputs), []);
    assert_eq!(*Harness::read_of(&outputs).1, Read::File { path: "a".into(), version: 2 });
    let outputs = harness.answer(Harness::read_of(&outputs).0, listed("a", 2, 6, "good"));
    assert!(matches!(&Harness::ops_of(&outputs)[..], [Op::Write { hash: written, .. }] if *written == hash("good")));
}

#[test]
fn a_page_with_content_that_does_not_match_its_hash_is_not_written_either() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(0, &[]);
    let mut lie = listed("a", 1, 1, "good");
    lie["content"] = "bad".into();
    let outputs = harness.answer(Harness::read_of(&outputs).0, page(1, true, &[lie]));
    assert_eq!(Harness::ops_of(&outputs), []);
    assert!(reads(&outputs).iter().any(|(_, read)| *read == Read::File { path: "a".into(), version: 1 }));
}

#[test]
fn a_revision_that_jumps_is_confirmed_by_a_read() {
    for jump in [1_000_000_006, u64::from(u32::MAX) + 6, i64::MAX as u64, u64::MAX] {
        let mut harness = started();
        let outputs = harness.broadcast("file:update", update("a", 2, "from the future", Some(jump)));
        let (id, read) = Harness::read_of(&outputs);
        assert!(matches!(read, Read::Changes { since: 5, .. }), "{read:?}");
        // The commit may only not be readable yet.
        let outputs = harness.answer(id, page(5, true, &[]));
        let status = harness.agent.status(harness.now);
        assert_eq!((status.revision, status.held, status.current), (5, 1, false), "{jump}");
        assert!(status.degraded.contains(&DegradedReason::CommitNotVisible), "{jump}");
        let outputs = harness.serve(outputs, 11_500, |_, _| Ok(page(5, true, &[])));
        assert!(outputs.iter().any(|o| matches!(o, Output::Event(Event::Skipped { reason: SkipReason::Unreachable }))));
        let status = harness.agent.status(harness.now);
        assert_eq!((status.revision, status.held, status.current), (5, 0, true), "{jump}");
        assert!(status.degraded.is_empty(), "{jump}: {:?}", status.degraded);
        assert_eq!(harness.writes("file:update", update("b", 2, "next", Some(6))).len(), 1, "{jump}");
    }
}

#[test]
fn a_head_far_above_is_corrected_by_the_next_heads() {
    for claimed in [1_000_000_005, u64::MAX] {
        let mut harness = started();
        let outputs = harness.broadcast("file:update", update("a", 2, "gap", Some(8)));
        let (id, _) = Harness::read_of(&outputs);
        harness.answer(id, page(claimed, true, &[]));
        assert_eq!(harness.agent.status(harness.now).revision, claimed);
        let rows = FILES.map(|(path, version, content)| listed(path, version, 5, content));
        let mut reset = page(5, true, &rows);
        reset["reset"] = true.into();
        harness.serve(Vec::new(), 48_000, |_, read| match read {
            Read::Head => Ok(json!({"head_revision": 5, "digest": digest()})),
            Read::Changes { since, .. } if *since == claimed => Ok(reset.clone()),
            _ => Ok(page(5, true, &[])),
        });
        assert_eq!(harness.agent.status(harness.now).revision, 5);
        assert_eq!(harness.agent.status(harness.now).digest.to_string(), digest());
    }
}

#[test]
fn a_revision_that_runs_backwards_is_old() {
    let mut harness = started();
    for revision in [5, 4, 1, 0] {
        let outputs = harness.broadcast("file:update", update("a", 9, "old", Some(revision)));
        assert!(matches!(&outputs[..], [Output::Event(Event::Skipped { reason: SkipReason::Old })]), "{outputs:?}");
    }
    assert_eq!(harness.agent.status(harness.now).revision, 5);
}

#[test]
fn a_head_that_stays_below_is_a_restored_backup() {
    let mut harness = started();
    let mut reset = page(3, true, &[listed("a", 1, 1, "a"), listed("b", 7, 2, "older b"), listed("c", 1, 3, "c")]);
    reset["reset"] = true.into();
    let mut fetched = Vec::new();
    let (mut first_seen, mut obeyed) = (None, None);
    harness.serve(Vec::new(), 48_000, |now, read| {
        first_seen.get_or_insert(now);
        match read {
            Read::Head => Ok(json!({"head_revision": 3, "digest": "0".repeat(64)})),
            Read::Changes { since: 5, .. } => Ok(reset.clone()),
            Read::File { path, version } => {
                obeyed.get_or_insert(now);
                fetched.push((path.clone(), *version));
                Ok(listed(path, *version, 2, "older b"))
            }
            _ => Ok(page(3, true, &[])),
        }
    });
    let waited = obeyed.expect("the reset is obeyed").since(first_seen.expect("a read"));
    assert!((10..13).contains(&waited.as_secs()), "obeyed after {waited:?}");
    assert_eq!(harness.agent.status(harness.now).revision, 3);
    assert_eq!(fetched[0], ("b".into(), 7));
    assert_eq!(harness.writes("file:update", update("c", 2, "next", Some(4))).len(), 1, "it goes on from there");
}

#[test]
fn an_empty_answer_where_there_were_files_removes_nothing_unless_it_is_repeated() {
    let mut harness = Harness::new();
    harness.hydrate_without_manifest(&[("a", "a"), ("b", "b"), ("c", "c")]);
    let (id, read) = harness.join();
    assert!(matches!(read, Read::Changes { since: 0, .. }), "{read:?}");
    let outputs = harness.answer(id, page(5, true, &[]));
    assert_eq!(Harness::ops_of(&outputs), []);
    // The second answer is right.
    let rows = FILES.map(|(path, version, content)| listed(path, version, 5, content));
    let outputs = harness.answer(Harness::read_of(&outputs).0, page(5, true, &rows));
    assert_eq!(Harness::ops_of(&outputs), []);
    assert_eq!(harness.agent.status(harness.now).digest.to_string(), digest());
    // Above a known revision nothing is nothing.
    let (id, _) = reads(&harness.broadcast("file:update", update("a", 9, "gap", Some(9))))[0];
    assert_eq!(Harness::ops_of(&harness.answer(id, page(5, true, &[]))), []);
    assert_eq!(harness.agent.status(harness.now).files, 3);
}

#[test]
fn an_empty_page_of_the_legacy_listing_removes_nothing_unless_it_is_repeated() {
    let mut harness = Harness::new();
    harness.hydrate_without_manifest(&[("a", "a"), ("b", "b"), ("c", "c")]);
    let (id, _) = harness.join();
    let outputs = harness.read(id, Err(sync_core::ReadError::NoSuchFunction));
    let (id, read) = Harness::read_of(&outputs);
    assert_eq!(*read, Read::CurrentFiles { after: String::new() });
    let outputs = harness.answer(id, json!([]));
    assert_eq!(Harness::ops_of(&outputs), []);
    assert_eq!(Harness::ops_of(&harness.answer(Harness::read_of(&outputs).0, json!([]))).len(), 3);
}

#[test]
fn the_state_of_another_project_is_rejected() {
    let harness = started();
    let saved = harness.agent.saved().expect("hydrated").encode();
    let other = "22222222-2222-4222-8222-222222222222";
    let Err(SavedError::OtherProject(whose)) = Saved::decode(saved.as_bytes(), other) else { panic!("taken") };
    assert_eq!(whose, PROJECT);
}

#[test]
fn answers_of_the_wrong_shape_are_retried_with_backoff() {
    let shapes = [
        json!(null),
        json!([]),
        json!("no"),
        json!({}),
        json!({"head_revision": -1, "complete": true, "files": []}),
        json!({"head_revision": 6, "complete": "yes", "files": []}),
        json!({"head_revision": 6, "complete": true, "files": null}),
        json!({"head_revision": 6, "complete": true, "files": [{"file_path": "a"}]}),
        json!({"head_revision": 6, "complete": true, "files": [{"file_path": "a", "version": 2, "revision": 6, "content_hash": "short"}]}),
        json!({"head_revision": 6, "complete": true, "files": [{"version": 2, "revision": 6}]}),
    ];
    for shape in shapes {
        let mut harness = started();
        let mut outputs = harness.broadcast("file:update", update("a", 3, "gap", Some(7)));
        let began = harness.now;
        let mut asked = 0;
        while harness.now.since(began).as_secs() < 120 {
            for (id, read) in reads(&outputs) {
                asked += u32::from(matches!(read, Read::Changes { .. }));
                let again = harness.answer(id, shape.clone());
                assert_eq!((reads(&again), Harness::ops_of(&again)), (vec![], vec![]), "{shape}");
            }
            outputs = harness.tick_until(100);
            assert_eq!(Harness::ops_of(&outputs), [], "{shape}");
        }
        assert!((3..40).contains(&asked), "{shape}: asked {asked} times in two minutes");
        assert_eq!(harness.agent.status(harness.now).revision, 5, "{shape}");
        assert!(harness.agent.status(harness.now).degraded.contains(&sync_core::DegradedReason::ReadsFailing));
    }
}

#[test]
fn an_answer_for_another_file_is_rejected() {
    let mut harness = started();
    let mut omitted = update("a", 2, "wanted", Some(6));
    omitted["content_omitted"] = true.into();
    let outputs = harness.broadcast("file:update", omitted);
    let outputs = harness.answer(Harness::read_of(&outputs).0, listed("b", 2, 6, "wanted"));
    assert_eq!(Harness::ops_of(&outputs), []);
    assert_eq!(harness.agent.status(harness.now).pending_files[0].reason, PendingReason::FetchFailed);
    let outputs = harness.tick_until(1_000);
    let outputs = harness.answer(Harness::read_of(&outputs).0, listed("a", 2, 6, "wanted"));
    assert!(matches!(&Harness::ops_of(&outputs)[..], [Op::Write { hash: written, .. }] if *written == hash("wanted")));
}

#[test]
fn endless_pages_are_given_up_and_are_not_a_state() {
    let mut harness = Harness::new();
    let mut outputs = harness.hydrate(5, &[]);
    let mut pages = 0u64;
    while let Some((id, Read::Changes { since, .. })) = reads(&outputs).first().cloned() {
        pages += 1;
        assert!(pages <= 10_001, "it never stops");
        // The same path over and over, so that the table does not grow for the test's sake.
        outputs = harness.answer(id, page(u64::MAX, false, &[listed("node_modules/a", since, since + 1, "a")]));
    }
    let status = harness.agent.status(harness.now);
    assert_eq!((pages, status.revision, status.current), (10_001, 5, false));
    let outputs = harness.tick_until(31_000);
    assert!(matches!(Harness::read_of(&outputs).1, Read::Changes { since: 5, .. }), "it begins again, later");
}

#[test]
fn a_raw_payload_is_a_reason_to_catch_up_and_not_an_error() {
    let topic = sync_core::wire::project_topic(PROJECT);
    let raw = |event: &str| {
        let lengths = [4, topic.len() as u8, event.len() as u8, 0, 0];
        [&lengths[..], topic.as_bytes(), event.as_bytes(), b"\xff\x00"].concat()
    };
    let mut harness = started();
    let frame = |event: &str| Input::Socket(SocketEvent::Binary(raw(event).into()));
    let unknown = harness.handle(frame("cursor"));
    assert_eq!(reads(&unknown), []);
    let mut outputs = harness.handle(frame("file:update"));
    outputs.extend(harness.tick_until(5_000));
    let caught_up = reads(&outputs).into_iter().any(|(_, read)| matches!(read, Read::Changes { since: 5, .. }));
    assert!(caught_up, "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Event(Event::Rejected { .. }))), "{outputs:?}");
}
