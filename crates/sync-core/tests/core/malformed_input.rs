//! Whatever comes in, nothing panics and the agent goes on.

use crate::support::{Harness, PROJECT, update};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use sync_core::wire::{ServerMessage, project_topic};
use sync_core::{Answer, Input, Output, ProjectPath, SocketEvent};

/// JSON with the names that the agent looks for and values of every type.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z/.é\\\\\u{0}]{0,8}".prop_map(Value::from),
        Just(json!("update")),
        Just(json!("base64")),
        Just(json!("0".repeat(64))),
    ];
    let name = prop::sample::select(vec![
        "file_path",
        "path",
        "content",
        "content_hash",
        "version",
        "revision",
        "files",
        "count",
        "action",
        "timestamp",
        "encoding",
        "content_omitted",
        "files_omitted",
        "head_revision",
        "complete",
        "reset",
        "digest",
        "is_deleted",
        "status",
        "response",
        "reason",
        "event",
        "payload",
        "data",
        "record",
        "message",
        "extension",
        "size",
    ]);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

fn event_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "file:update",
        "file:delete",
        "bulk:apply",
        "file:bulk-update",
        "snapshot:ready",
        "other",
    ])
}

fn frame_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["broadcast", "phx_reply", "system", "phx_close", "phx_error", "postgres_changes", "x"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_frames_are_decoded_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let frame = Bytes::from(bytes);
        let _ = ServerMessage::decode_text(&frame).map_err(|error| error.to_string());
        let _ = ServerMessage::decode_binary(&frame).map_err(|error| error.to_string());
    }

    #[test]
    fn binary_frames_with_any_header_are_decoded_or_rejected(header in any::<[u8; 5]>(), rest in prop::collection::vec(any::<u8>(), 0..800)) {
        let frame: Vec<u8> = [4].into_iter().chain(header[1..].iter().copied()).chain(rest).collect();
        let frame = Bytes::from(frame);
        if let Ok(message) = ServerMessage::decode_binary(&frame) {
            prop_assert_eq!(message.topic().len(), usize::from(frame[1]));
        }
    }

    #[test]
    fn the_agent_survives_odd_frames(frames in prop::collection::vec((frame_name(), event_name(), odd_json(), any::<bool>()), 1..12)) {
        let mut harness = Harness::new();
        harness.start(5, &[("a", 1, "a")]);
        for (name, event, payload, wrapped) in frames {
            let payload = if wrapped { json!({"event": event, "payload": payload}) } else { payload };
            harness.frame(json!(["1", null, project_topic(PROJECT), name, payload]));
            harness.tick_until(1_000);
        }
        harness.handle(Input::Socket(SocketEvent::Binary(Bytes::from_static(b"\x04"))));
    }

    #[test]
    fn the_agent_survives_odd_answers(answers in prop::collection::vec(odd_json(), 1..20)) {
        let mut harness = Harness::new();
        let mut outputs = harness.hydrate(0, &[("a", 1, "a"), ("b", 1, "b")]);
        for answer in answers {
            let reads: Vec<_> = outputs.iter().filter_map(|o| if let Output::Read(id, _) = o { Some(*id) } else { None }).collect();
            for id in reads {
                harness.read(id, Ok(Answer::Json(Bytes::from(answer.to_string()))));
            }
            outputs = harness.tick_until(40_000);
        }
    }

    #[test]
    fn an_accepted_path_stays_inside_the_project(path in "[a-z./\\\\~ \u{0}é:]{0,40}") {
        if let Ok(taken) = ProjectPath::parse(&path) {
            prop_assert_eq!(taken.as_str(), &path);
            prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            prop_assert!(!path.chars().any(|c| c.is_control() || c == '\\'));
        }
    }
}

#[test]
fn pages_that_never_end_do_not_keep_the_agent_busy() {
    let mut harness = Harness::new();
    let mut outputs = harness.hydrate(5, &[]);
    for _ in 0..50 {
        let Some(id) = outputs.iter().find_map(|o| if let Output::Read(id, _) = o { Some(*id) } else { None }) else {
            break;
        };
        outputs = harness.answer(id, json!({"head_revision": 9, "complete": false, "files": []}));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Read(..))), "asked again without a pause");
        outputs = harness.tick_until(31_000);
    }
    assert_eq!(harness.agent.status(harness.now).revision, 5);
}

#[test]
fn ten_thousand_events_while_hydrating_are_bounded_and_a_read_replaces_them() {
    let mut harness = Harness::new();
    harness.handle(Input::Socket(SocketEvent::Opened));
    harness.frame(json!(["1", "1", project_topic(PROJECT), "phx_reply", {"status": "ok", "response": {}}]));
    for revision in 1..=10_000u64 {
        harness.broadcast("file:update", update("a", revision, "x", Some(revision)));
        assert!(harness.agent.status(harness.now).held <= 1_000);
    }
    let outputs = harness.hydrate(0, &[]);
    assert!(matches!(Harness::read_of(&outputs).1, sync_core::Read::Changes { since: 0, .. }));
}
