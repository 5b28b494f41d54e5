//! The write functions for single files.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::channel::Channel;
use super::target::{Answer, Scene, Who};

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn upsert(scene: &Scene, name: &str, content: &str, expected: Value) -> Answer {
    let arguments = json!({
        "p_file_path": scene.path(name), "p_content": content, "p_file_type": "text", "expected_version": expected,
    });
    scene.owner("upsert_project_file", arguments).await
}

async fn delete(scene: &Scene, name: &str, expected: Value) -> Answer {
    scene.owner("delete_project_file", json!({"p_file_path": scene.path(name), "expected_version": expected})).await
}

pub async fn a_save_gives_the_new_row(scene: Scene) {
    let row = upsert(&scene, "a.ts", "one", json!(0)).await.ok();
    for (column, value) in [
        ("project_id", json!(scene.project())),
        ("file_path", json!(scene.path("a.ts"))),
        ("file_type", json!("text")),
        ("content", json!("one")),
        ("content_hash", json!(sha256(b"one"))),
        ("version", json!(1)),
        ("revision", json!(scene.base() + 1)),
        ("size", json!(3)),
        ("encoding", json!("utf-8")),
        ("is_deleted", json!(false)),
        ("is_current_version", json!(true)),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    let row = upsert(&scene, "a.ts", "two", json!(1)).await.ok();
    assert_eq!((&row["version"], &row["revision"]), (&json!(2), &json!(scene.base() + 2)));
    // By the shortest call: the type stays, no version is expected.
    let short =
        scene.owner("upsert_project_file", json!({"p_file_path": scene.path("a.ts"), "p_content": "three"})).await;
    assert_eq!(short.ok()["file_type"], "text");
    let service = json!({"p_file_path": scene.path("b.ts"), "p_content": "", "p_file_type": null});
    let row = scene.call(Who::Service, "upsert_project_file", scene.with_project(service)).await.ok();
    assert_eq!((&row["content"], &row["size"], &row["is_deleted"]), (&json!(""), &json!(0), &json!(false)));
    scene.head_is_base_plus(4).await;
}

pub async fn equal_content_takes_no_revision(scene: Scene) {
    upsert(&scene, "a", "same", Value::Null).await.ok();
    // The answer to the first was lost, and the writer asks again with the version that it knew.
    let row = upsert(&scene, "a", "same", json!(0)).await.ok();
    assert_eq!(row["version"], 1);
    assert_eq!(upsert(&scene, "a", "same", json!(7)).await.ok()["version"], 1);
    scene.head_is_base_plus(1).await;
    // Another type is no change of the file.
    let retyped = json!({"p_file_path": scene.path("a"), "p_content": "same", "p_file_type": "markdown"});
    assert_eq!(scene.owner("upsert_project_file", retyped).await.ok()["file_type"], "markdown");
    scene.head_is_base_plus(1).await;
}

pub async fn a_stale_version_is_a_conflict(scene: Scene) {
    let conflict = |answer: &Answer, expected: u64, current: u64| {
        answer.refused(409, "PT409");
        let details = json!({"file_path": scene.path("a"), "expected_version": expected, "current_version": current});
        assert_eq!(answer.details(), details);
    };
    conflict(&upsert(&scene, "a", "x", json!(1)).await, 1, 0);
    upsert(&scene, "a", "one", json!(0)).await.ok();
    upsert(&scene, "a", "two", json!(1)).await.ok();
    for stale in [0, 1, 3, 999_999_999] {
        conflict(&upsert(&scene, "a", "three", json!(stale)).await, stale, 2);
    }
    conflict(&delete(&scene, "a", json!(1)).await, 1, 2);
    scene.head_is_base_plus(2).await;
    delete(&scene, "a", json!(2)).await.ok();
    conflict(&upsert(&scene, "a", "four", json!(2)).await, 2, 3);
    // Not there, as expected; a tombstone may be named by its own version too.
    assert_eq!(upsert(&scene, "a", "four", json!(0)).await.ok()["version"], 4);
    delete(&scene, "a", Value::Null).await.ok();
    assert_eq!(upsert(&scene, "a", "five", json!(5)).await.ok()["version"], 6);
    scene.head_is_base_plus(6).await;
}

pub async fn a_delete_leaves_a_tombstone_and_versions_go_on(scene: Scene) {
    upsert(&scene, "a", "one", Value::Null).await.ok();
    let tombstone = delete(&scene, "a", json!(1)).await.ok();
    for (column, value) in [
        ("version", json!(2)),
        ("revision", json!(scene.base() + 2)),
        ("is_deleted", json!(true)),
        ("content", Value::Null),
        ("content_hash", Value::Null),
        ("size", json!(0)),
    ] {
        assert_eq!(tombstone[column], value, "{column}");
    }
    assert_eq!(delete(&scene, "a", json!(1)).await.ok(), tombstone, "deleted already");
    delete(&scene, "never", Value::Null).await.refused(404, "PT404");
    scene.head_is_base_plus(2).await;
    assert_eq!(upsert(&scene, "a", "one", Value::Null).await.ok()["version"], 3);
}

pub async fn binary_content_is_in_storage(scene: Scene) {
    let bytes = [0, 159, 146, 150, 255, scene.base() as u8];
    let hash = sha256(&bytes);
    let register = |name: &str, hash: &str, size: Value, expected: Value| {
        json!({
            "p_file_path": scene.path(name), "p_file_type": "image", "p_content_hash": hash, "p_size": size,
            "expected_version": expected,
        })
    };
    let missing = register("logo.png", &hash, json!(6), Value::Null);
    scene.owner("register_project_asset", missing).await.refused(400, "22023");
    let object = format!("project-assets/{}/{hash}", scene.project());
    upload(&scene, Who::Owner, &object, &bytes).await;
    for wrong in [
        register("logo.png", &hash, json!(7), Value::Null),
        register("logo.png", "no hash", json!(6), Value::Null),
        register("logo.png", &hash, json!(-1), Value::Null),
    ] {
        scene.owner("register_project_asset", wrong).await.refused(400, "22023");
    }
    scene.head_is_base_plus(0).await;
    let row = scene.owner("register_project_asset", register("logo.png", &hash, json!(6), json!(0))).await.ok();
    assert_eq!((&row["content"], &row["encoding"], &row["size"]), (&Value::Null, &json!("base64"), &json!(6)));
    let again = register("logo.png", &hash.to_uppercase(), json!(6), json!(0));
    assert_eq!(scene.owner("register_project_asset", again).await.ok()["version"], 1);
    scene.save("logo.png", "text now").await;
    let stale = register("logo.png", &hash, json!(6), json!(1));
    scene.owner("register_project_asset", stale).await.refused(409, "PT409");
    let entry = json!([{"file_path": scene.path("copy.png"), "content_hash": hash, "size": 6}]);
    scene.owner("bulk_upsert_project_files", json!({"files": entry})).await.ok();
    let one = format!("eq.{}", scene.path("copy.png"));
    let listed = scene.list_current_files(&[("file_path", &one)]).await.ok();
    assert_eq!(listed[0]["file_type"], "binary", "{listed}");
    let file =
        scene.agent("get_project_file", json!({"p_file_path": scene.path("copy.png"), "p_version": 1})).await.ok();
    assert_eq!((&file["content"], &file["encoding"]), (&Value::Null, &json!("base64")));
    let url = format!("{}/storage/v1/object/authenticated/{object}", scene.url());
    let request = scene.http().get(url).header("apikey", scene.anon_key());
    let response = request.bearer_auth(scene.token(Who::Agent).expect("a token")).send().await.expect("an answer");
    assert_eq!(response.bytes().await.expect("a body").to_vec(), bytes);
}

async fn upload(scene: &Scene, who: Who, object: &str, bytes: &[u8]) {
    let url = format!("{}/storage/v1/object/{object}", scene.url());
    let request = scene.http().post(url).header("apikey", scene.anon_key()).header("content-type", "image/png");
    let response = request.bearer_auth(scene.token(who).expect("a token")).body(bytes.to_vec()).send().await;
    assert_eq!(response.expect("an answer").status(), 200);
}

pub async fn five_megabytes_are_saved_and_read_back(scene: Scene) {
    let mut channel = Channel::join(&scene, Who::Agent, "2.0.0", "").await.expect("joined");
    let content = "0123456789abcdef".repeat(5 * 65_536);
    let row = upsert(&scene, "large.txt", &content, json!(0)).await.ok();
    assert_eq!((&row["size"], &row["content_hash"]), (&json!(5_242_880), &json!(sha256(content.as_bytes()))));
    let (event, payload) = channel.event().await;
    assert_eq!((&*event, &payload["content_omitted"]), ("file:update", &json!(true)));
    let get = json!({"p_file_path": scene.path("large.txt"), "p_version": payload["version"]});
    assert_eq!(scene.agent("get_project_file", get).await.ok()["content"], json!(content));
    // Larger than a page, and so left out of it though it is the only one.
    let page = scene.agent("list_project_changes", json!({"since_revision": scene.base()})).await.ok();
    assert_eq!((&page["files"][0]["content_omitted"], &page["complete"]), (&json!(true), &json!(true)));
}

pub async fn flags_are_booleans(scene: Scene) {
    for (flag, on) in [("FSYNC_USE_RPC", true), ("FSYNC_KEEP_CLIENT_BROADCAST", false), ("NO_SUCH_FLAG", false)] {
        for person in [Value::Null, json!(super::target::OTHER)] {
            let answer =
                scene.call(Who::Owner, "is_feature_enabled", json!({"flag_key": flag, "user_id": person})).await;
            assert_eq!(answer.ok(), json!(on), "{flag}");
        }
    }
    assert_eq!(scene.call(Who::Service, "is_feature_enabled", json!({"flag_key": "FSYNC_USE_RPC"})).await.ok(), true);
}
