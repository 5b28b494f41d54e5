//! The events of section 4, and who may hear and send them.

use serde_json::{Value, json};

use super::channel::Channel;
use super::target::{Scene, Who};
use super::writes::sha256;

pub async fn each_write_is_one_event(scene: Scene) {
    let mut first = Channel::join(&scene, Who::Agent, "1.0.0", "").await.expect("joined");
    let mut second = Channel::join(&scene, Who::Owner, "2.0.0", "").await.expect("joined");
    let mut heard = async || {
        let (event, payload) = second.event().await;
        assert_eq!(first.event().await, (event.clone(), payload.clone()), "the same in both protocols");
        (event, payload)
    };
    let row = scene.save("a.ts", "export {}\n\"ü\"").await;
    let (event, payload) = heard().await;
    assert_eq!(event, "file:update");
    for (field, value) in [
        ("file_path", json!(scene.path("a.ts"))),
        ("content", json!("export {}\n\"ü\"")),
        ("content_hash", json!(sha256("export {}\n\"ü\"".as_bytes()))),
        ("version", json!(1)),
        ("revision", row["revision"].clone()),
        ("size", row["size"].clone()),
        ("encoding", json!("utf-8")),
        ("file_type", json!("text")),
        ("sender", row["last_modified_by"].clone()),
    ] {
        assert_eq!(payload[field], value, "{field}");
    }
    assert!(payload["timestamp"].is_string() && payload.get("content_omitted").is_none());
    scene.delete("a.ts").await;
    let (event, payload) = heard().await;
    assert_eq!(
        (&*event, &payload["version"], &payload["revision"]),
        ("file:delete", &json!(2), &json!(scene.base() + 2))
    );
    let files =
        json!([{"file_path": scene.path("b.ts"), "content": "b"}, {"file_path": scene.path("a.ts"), "content": "a"}]);
    scene.owner("bulk_upsert_project_files", json!({"files": files})).await.ok();
    let (event, payload) = heard().await;
    assert_eq!((&*event, &payload["count"], &payload["revision"]), ("bulk:apply", &json!(2), &json!(scene.base() + 3)));
    let file = |at: usize| (payload["files"][at]["action"].clone(), payload["files"][at]["content"].clone());
    assert_eq!((file(0), file(1)), ((json!("update"), json!("a")), (json!("update"), json!("b"))));
    // A bulk of one is a bulk all the same.
    scene.owner("bulk_delete_project_files", json!({"file_paths": [scene.path("b.ts")]})).await.ok();
    let (event, payload) = heard().await;
    assert_eq!(
        (&*event, &payload["files"][0]["action"], &payload["count"]),
        ("bulk:apply", &json!("delete"), &json!(1))
    );
    let service = json!({"p_file_path": scene.path("c.ts"), "p_content": "c"});
    scene.call(Who::Service, "upsert_project_file", scene.with_project(service)).await.ok();
    let (_, payload) = heard().await;
    assert_eq!((&payload["sender"], &payload["revision"]), (&json!("service_role"), &json!(scene.base() + 5)));
}

pub async fn refused_and_unchanged_writes_have_no_event(scene: Scene) {
    let mut channel = Channel::join(&scene, Who::Agent, "1.0.0", "").await.expect("joined");
    scene.save("a", "1").await;
    assert_eq!(channel.event().await.1["revision"], scene.base() + 1, "the event of the save");
    scene.save("a", "1").await;
    let stale = json!({"p_file_path": scene.path("a"), "p_content": "2", "expected_version": 9});
    scene.owner("upsert_project_file", stale).await.refused(409, "PT409");
    let files = json!([{"file_path": scene.path("good"), "content": "x"}, {"file_path": "/bad", "content": "x"}]);
    scene.owner("bulk_upsert_project_files", json!({"files": files})).await.refused(400, "22023");
    scene.save("a", "2").await;
    assert_eq!(channel.event().await.1["revision"], scene.base() + 2, "the first that is heard");
}

pub async fn content_above_150000_bytes_is_omitted(scene: Scene) {
    let mut channel = Channel::join(&scene, Who::Agent, "1.0.0", "").await.expect("joined");
    for (name, size, omitted) in [("fits", 150_000, false), ("too-large", 150_001, true)] {
        scene.save(name, &"x".repeat(size)).await;
        let (_, payload) = channel.event().await;
        assert_eq!(payload.get("content_omitted").is_some(), omitted, "{size}");
        assert_eq!(payload["content"].is_null(), omitted, "{size}");
    }
    // A bulk includes contents from the smallest on.
    let file = |name: &str, size: usize| json!({"file_path": scene.path(name), "content": name.repeat(size)});
    let files = json!([file("a", 100_000), file("b", 60_000), file("c", 80_000)]);
    scene.owner("bulk_upsert_project_files", json!({"files": files})).await.ok();
    let (_, payload) = channel.event().await;
    let omitted: Vec<bool> = (0..3).map(|at| payload["files"][at]["content"].is_null()).collect();
    assert_eq!(omitted, [true, false, false], "{payload}");
}

pub async fn content_too_large_for_an_event_is_omitted(scene: Scene) {
    let mut channel = Channel::join(&scene, Who::Agent, "2.0.0", "").await.expect("joined");
    scene.save("large", &"x".repeat(300_000)).await;
    let (event, payload) = channel.event().await;
    assert_eq!(
        (&*event, &payload["content"], &payload["content_omitted"]),
        ("file:update", &Value::Null, &json!(true))
    );
    assert_eq!((&payload["size"], &payload["content_hash"]), (&json!(300_000), &json!(sha256(&[b'x'; 300_000]))));
    // What JSON spells with six bytes each.
    scene.save("controls", &"\u{1}".repeat(100_000)).await;
    assert_eq!(channel.event().await.1["content_omitted"], true);
    let files: Value =
        ["p", "q"].map(|name| json!({"file_path": scene.path(name), "content": name.repeat(300_000)})).into();
    scene.owner("bulk_upsert_project_files", json!({"files": files})).await.ok();
    let (_, payload) = channel.event().await;
    assert_eq!((&payload["count"], payload.get("files_omitted")), (&json!(2), None));
    assert!(payload["files"].as_array().is_some_and(|files| files.iter().all(|file| file["content_omitted"] == true)));
}

pub async fn who_may_join(scene: Scene) {
    for suffix in ["", ":status"] {
        for who in [Who::Agent, Who::Owner] {
            assert!(Channel::join(&scene, who, "2.0.0", suffix).await.is_ok(), "{who:?} {suffix}");
        }
        for who in [Who::OtherAgent, Who::Stranger, Who::Anon] {
            let reason = Channel::join(&scene, who, "2.0.0", suffix).await.err().expect("refused");
            assert!(reason.starts_with("Unauthorized"), "{who:?}: {reason}");
        }
    }
    assert!(Channel::join(&scene, Who::Agent, "1.0.0", ":other").await.is_err());
    let expired = scene.sign(&json!({"role": "preview_agent", "project_id": scene.project(), "exp": 1_000_000_000}));
    assert!(Channel::join_with(&scene, &expired, "1.0.0", "", json!([])).await.is_err());
    let nobody = scene.sign(&json!({"role": "preview_agent", "exp": super::target::FAR}));
    assert!(Channel::join_with(&scene, &nobody, "1.0.0", "", json!([])).await.is_err());
}

pub async fn who_may_send(scene: Scene) {
    let mut listener = Channel::join(&scene, Who::Owner, "1.0.0", ":status").await.expect("joined");
    let mut agent = Channel::join(&scene, Who::Agent, "2.0.0", ":status").await.expect("joined");
    assert_eq!(agent.send("preview:status", json!({"phase": "serving"})).await, "ok");
    assert_eq!(listener.event().await, ("preview:status".into(), json!({"phase": "serving"})));
    // A sender on the project's topic could forge every event on it: neither agent nor editor may send there, and the
    // editor may not send on the status topic. A refused send has no reply, even with `ack`.
    let mut listener = Channel::join(&scene, Who::Owner, "1.0.0", "").await.expect("joined");
    for (who, vsn) in [(Who::Agent, "2.0.0"), (Who::Owner, "1.0.0"), (Who::Owner, "2.0.0")] {
        let mut sender = Channel::join(&scene, who, vsn, "").await.expect("joined");
        sender.cast("file:delete", json!({"file_path": scene.path("a"), "version": 9})).await;
        sender.heartbeat_without_replies().await;
    }
    let mut status = Channel::join(&scene, Who::Agent, "1.0.0", ":status").await.expect("joined");
    let mut editor = Channel::join(&scene, Who::Owner, "2.0.0", ":status").await.expect("joined");
    editor.cast("preview:status", json!({"phase": "forged"})).await;
    editor.heartbeat_without_replies().await;
    status.heartbeat_without_broadcasts().await;
    scene.save("a", "1").await;
    assert_eq!(listener.event().await.0, "file:update", "the first event on the project's topic");
    // Over HTTP every sender gets 202, and only allowed messages are delivered.
    for who in [Who::Agent, Who::Owner, Who::Stranger] {
        let topic = format!("project:{}", scene.project());
        let message = json!({"topic": topic, "event": "file:delete", "payload": {"forged": true}, "private": true});
        let url = format!("{}/realtime/v1/api/broadcast", scene.url());
        let request = scene.http().post(url).header("apikey", scene.anon_key()).json(&json!({"messages": [message]}));
        let request = request.bearer_auth(scene.token(who).expect("a token"));
        assert_eq!(request.send().await.expect("an answer").status(), 202, "{who:?}");
    }
    scene.save("a", "2").await;
    assert_eq!(listener.event().await.0, "file:update", "the first event after the HTTP broadcasts");
}

pub async fn subscribers_get_inserted_rows(scene: Scene) {
    let filter = format!("project_id=eq.{}", scene.project());
    let wanted = json!([{"event": "INSERT", "schema": "public", "table": "project_files", "filter": filter}]);
    let token = scene.token(Who::Agent).expect("a token");
    let mut channel = Channel::join_with(&scene, &token, "2.0.0", "", wanted).await.expect("joined");
    let row = scene.save("a", "1").await;
    let data = channel.row().await;
    assert_eq!((&data["type"], &data["table"]), (&json!("INSERT"), &json!("project_files")));
    assert_eq!(data["record"]["file_path"], row["file_path"]);
    assert_eq!(data["record"]["revision"], row["revision"]);
}
