//! Bulks: one revision or none.

use serde_json::{Value, json};

use super::channel::Channel;
use super::target::{Answer, Scene, Who};

async fn bulk(scene: &Scene, files: Value) -> Answer {
    scene.owner("bulk_upsert_project_files", json!({"files": files})).await
}

pub async fn a_bulk_saves_deletes_and_renames_in_one_revision(scene: Scene) {
    scene.save("old.ts", "kept").await;
    scene.save("same.ts", "same").await;
    let answer = bulk(
        &scene,
        json!([
            {"action": "delete", "file_path": scene.path("old.ts"), "expected_version": 1},
            {"action": "update", "file_path": scene.path("new.ts"), "content": "kept", "file_type": "typescript"},
            {"file_path": scene.path("same.ts"), "content": "same"},
            {"file_path": scene.path("empty.ts"), "content": "", "expected_version": 0},
        ]),
    )
    .await
    .ok();
    assert_eq!(answer["revision"], scene.base() + 3);
    let versions: Vec<&Value> =
        answer["files"].as_array().expect("files").iter().map(|file| &file["version"]).collect();
    assert_eq!(versions, [2, 1, 1, 1]);
    assert_eq!(answer["files"][0]["content_hash"], Value::Null);
    let again =
        bulk(&scene, json!([{"file_path": scene.path("same.ts"), "content": "same", "expected_version": 9}])).await;
    assert_eq!(again.ok()["revision"], scene.base() + 3, "nothing new, so no revision");
    scene.head_is_base_plus(3).await;
}

pub async fn one_invalid_entry_refuses_the_bulk_and_is_named(scene: Scene) {
    scene.save("there", "1").await;
    let path = |name: &str| scene.path(name);
    let nowhere = "0".repeat(64);
    let bad = [
        ("22023", json!({"file_path": "../up", "content": "x"})),
        ("22023", json!({"file_path": "node_modules/x", "content": "x"})),
        ("22023", json!({"action": "delete", "file_path": "a//b"})),
        ("22023", json!({"file_path": path("b")})),
        ("22023", json!({"file_path": path("b"), "content": 7})),
        ("22023", json!({"file_path": path("b"), "content": "x", "action": "rename"})),
        ("22023", json!({"file_path": path("b"), "content": "x", "expected_version": -1})),
        ("22023", json!({"file_path": path("b"), "content": "x", "expected_version": "one"})),
        ("22023", json!({"file_path": path("b"), "content": "x", "file_type": 7})),
        ("22023", json!({"file_path": path("b"), "content_hash": nowhere, "size": 3})),
        ("22023", json!({"file_path": path("b"), "content_hash": "short", "size": 3})),
        ("22023", json!({"file_path": path("b"), "content_hash": nowhere})),
        ("22023", json!({"file_path": 7, "content": "x"})),
        ("22023", json!({"content": "x"})),
        ("22023", json!(7)),
        ("22023", json!(null)),
        ("22023", json!({"file_path": path("good"), "content": "again"})),
        ("PT404", json!({"action": "delete", "file_path": path("never")})),
        ("PT409", json!({"file_path": path("there"), "content": "2", "expected_version": 7})),
        ("PT409", json!({"action": "delete", "file_path": path("there"), "expected_version": 7})),
    ];
    for (code, entry) in bad {
        let answer = bulk(&scene, json!([{"file_path": path("good"), "content": "x"}, entry])).await;
        assert_eq!(answer.code(), code, "{entry}: {}", answer.body);
        assert_eq!(answer.details()["entry"], 1, "{entry}: {}", answer.body);
        assert!(answer.body["message"].as_str().is_some_and(|words| words.contains("entry 1")), "{}", answer.body);
        if code == "PT409" {
            let details = answer.details();
            let (expected, current) = (&details["expected_version"], &details["current_version"]);
            assert_eq!((&details["file_path"], expected, current), (&json!(path("there")), &json!(7), &json!(1)));
        }
    }
    // Of one entry it is named as well.
    let alone = bulk(&scene, json!([{"file_path": "../up", "content": "x"}])).await;
    alone.refused(400, "22023");
    assert_eq!(alone.details()["entry"], 0);
    scene.head_is_base_plus(1).await;
}

pub async fn a_bulk_has_one_to_ten_thousand_entries(scene: Scene) {
    let entries = |count: usize| -> Value {
        (0..count).map(|at| json!({"file_path": scene.path(&format!("f{at}")), "content": at.to_string()})).collect()
    };
    bulk(&scene, json!([])).await.refused(400, "22023");
    bulk(&scene, json!({})).await.refused(400, "22023");
    bulk(&scene, Value::Null).await.refused(400, "22023");
    bulk(&scene, entries(10_001)).await.refused(400, "22023");
    scene.head_is_base_plus(0).await;
    let mut channel = Channel::join(&scene, Who::Agent, "2.0.0", "").await.expect("joined");
    let answer = bulk(&scene, entries(10_000)).await.ok();
    assert_eq!(
        (&answer["revision"], answer["files"].as_array().map(Vec::len)),
        (&json!(scene.base() + 1), Some(10_000))
    );
    let (event, payload) = channel.event().await;
    assert_eq!((&*event, &payload["count"], &payload["files_omitted"]), ("bulk:apply", &json!(10_000), &json!(true)));
    assert_eq!(payload["files"], json!([]));
    let paths: Value = (0..10_000).map(|at| json!(scene.path(&format!("f{at}")))).collect();
    let answer = scene.owner("bulk_delete_project_files", json!({"file_paths": paths})).await.ok();
    assert_eq!(answer["revision"], scene.base() + 2);
}

pub async fn a_bulk_deletes_many_files(scene: Scene) {
    for name in ["a", "b", "c"] {
        scene.save(name, name).await;
    }
    let delete = async |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| scene.path(name)).collect();
        scene.owner("bulk_delete_project_files", json!({"file_paths": paths})).await
    };
    let missing = delete(&["a", "never"]).await;
    missing.refused(404, "PT404");
    assert_eq!(missing.details()["entry"], 1);
    let twice = delete(&["a", "a"]).await;
    twice.refused(400, "22023");
    assert_eq!(twice.details()["entry"], 1);
    delete(&[]).await.refused(400, "22023");
    scene.head_is_base_plus(3).await;
    let answer = delete(&["c", "a"]).await.ok();
    assert_eq!((&answer["revision"], &answer["files"][0]["version"]), (&json!(scene.base() + 4), &json!(2)));
    assert_eq!(answer["files"][0]["file_path"], scene.path("c"));
    delete(&["c", "a"]).await.ok();
    scene.head_is_base_plus(4).await;
}
