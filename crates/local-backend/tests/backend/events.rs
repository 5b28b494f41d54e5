//! The whole way of a save: from a function to the frames of both protocols.

use crate::support::{Client, PROJECT, TOPIC, backend, rpc};
use local_backend::FileContent;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_save_reaches_both_protocols() {
    let backend = backend().await;
    let token = backend.agent_settings().realtime_token;
    let (mut one, mut two) = (Client::v1(&backend).await, Client::v2(&backend).await);
    one.join(TOPIC, &token).await;
    two.join_v2(TOPIC, &token).await;

    let arguments = json!({"project_uuid": PROJECT, "p_file_path": "src/a.ts", "p_content": "1", "p_file_type": "ts"});
    let (status, row) = rpc(&backend, &backend.editor_token(), "upsert_project_file", arguments).await;
    assert_eq!((status, &row["version"], &row["revision"]), (200, &json!(1), &json!(1)), "{row}");

    let frame = one.next().await;
    assert_eq!((&frame["event"], &frame["topic"], &frame["ref"]), (&json!("broadcast"), &json!(TOPIC), &Value::Null));
    let (event, payload) = (&frame["payload"]["event"], &frame["payload"]["payload"]);
    assert_eq!(event, "file:update");
    assert_eq!(frame["payload"]["type"], "broadcast");
    assert_eq!(frame["payload"]["meta"]["id"], payload["id"]);
    for (name, value) in [
        ("file_path", json!("src/a.ts")),
        ("content", json!("1")),
        ("content_hash", json!("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b")),
        ("version", json!(1)),
        ("revision", json!(1)),
        ("encoding", json!("utf-8")),
        ("size", json!(1)),
    ] {
        assert_eq!(payload[name], value, "{name}");
    }

    let Message::Binary(bytes) = two.next_message().await else { panic!("protocol 2.0.0 gets binary frames") };
    assert_eq!(&bytes[..5], &[4, TOPIC.len() as u8, 11, bytes[3], 1]);
    let at = 5 + TOPIC.len();
    assert_eq!(&bytes[at..at + 11], b"file:update");
    let body: Value = serde_json::from_slice(&bytes[at + 11 + bytes[3] as usize..]).expect("JSON");
    assert_eq!(&body, payload);
    backend.stop().await;
}

#[tokio::test]
async fn a_delete_and_a_bulk_have_events_of_their_own() {
    let backend = backend().await;
    let store = backend.store();
    store.upsert("a", FileContent::Text("1".into()), None, "test").expect("saved");
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    store.delete("a", Some(1), "test").expect("deleted");
    let frame = client.next().await;
    assert_eq!(frame["payload"]["event"], "file:delete");
    assert_eq!(frame["payload"]["payload"]["version"], 2);
    let files = json!([{"file_path": "b", "content": "2"}, {"file_path": "c", "content": "3"}]);
    let arguments = json!({"project_uuid": PROJECT, "files": files});
    let (status, bulk) = rpc(&backend, &backend.editor_token(), "bulk_upsert_project_files", arguments).await;
    assert_eq!((status, &bulk["revision"]), (200, &json!(3)), "{bulk}");
    let frame = client.next().await;
    assert_eq!(frame["payload"]["event"], "bulk:apply");
    let payload = &frame["payload"]["payload"];
    assert_eq!((&payload["count"], &payload["revision"]), (&json!(2), &json!(3)));
    assert_eq!(payload["files"][1]["action"], "update");
    assert_eq!(payload["files"][1]["content"], "3");
    backend.stop().await;
}
