//! The functions of the contract's section 5: shapes, codes, pages, resets and the digest.

use crate::support::{OTHER, PROJECT, backend, options, rpc};
use local_backend::{
    Backend, BackendOptions, BulkEntry, FaultRate, FileContent, Head, PathRule, SeedFile, Store, StoreError, Switch,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn save(store: &Store, path: &str, content: &str) {
    store.upsert(path, FileContent::Text(content.into()), None, "test").expect("saved");
}

async fn changes(backend: &Backend, since: u64, more: Value) -> Value {
    let mut arguments = json!({"project_uuid": PROJECT, "since_revision": since});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        arguments[name.as_str()] = value;
    }
    let (status, answer) =
        rpc(backend, &backend.agent_settings().realtime_token, "list_project_changes", arguments).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn paths(answer: &Value) -> Vec<&str> {
    answer["files"].as_array().expect("files").iter().filter_map(|file| file["file_path"].as_str()).collect()
}

/// The contract's digest, computed from what the functions say.
fn digest_of(files: &[Value]) -> String {
    let mut digest = [0u8; 32];
    for file in files.iter().filter(|file| file["is_deleted"] == false) {
        let text = |name: &str| file[name].as_str().expect("text").to_owned();
        let whole = format!("{}\0{}\0{}", text("file_path"), file["version"], text("content_hash"));
        digest.iter_mut().zip(Sha256::digest(whole)).for_each(|(byte, other)| *byte ^= other);
    }
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_digest_changes_with_every_write() {
    let backend = backend().await;
    let store = backend.store();
    assert_eq!(store.head(), Head { revision: 0, digest: "0".repeat(64) });
    for (path, content) in [("a", "1"), ("b", "2"), ("a", "3"), ("c/d", "4")] {
        save(&store, path, content);
    }
    store.delete("b", None, "test").expect("deleted");
    save(&store, "b", "again");
    store.delete("c/d", None, "test").expect("deleted");
    let answer = changes(&backend, 0, json!({})).await;
    assert_eq!(answer["digest"], json!(digest_of(answer["files"].as_array().expect("files"))));
    assert_eq!(answer["digest"], json!(store.head().digest));
    assert_eq!(answer["head_revision"], 7);
    assert_eq!(paths(&answer), ["a", "b", "c/d"], "in the order of revisions");
    assert_eq!(answer["files"][1]["version"], 3, "a deleted file goes on counting");
    assert_eq!(answer["files"][2]["is_deleted"], true);
    assert_eq!(answer["files"][2]["content_omitted"], false);
}

#[tokio::test]
async fn equal_content_and_repeated_deletes_take_no_revision() {
    let backend = backend().await;
    let store = backend.store();
    save(&store, "a", "1");
    let mut events = store.subscribe();
    let row = store.upsert("a", FileContent::Text("1".into()), Some(9), "test").expect("no conflict");
    assert_eq!((row.version, store.head().revision), (1, 1));
    store.delete("a", Some(1), "test").expect("deleted");
    let tombstone = store.delete("a", Some(1), "test").expect("deleted already");
    assert_eq!((tombstone.version, store.head().revision), (2, 2));
    assert_eq!(events.try_recv().expect("the delete").revision, 2);
    assert!(events.try_recv().is_err(), "one event for one revision");
}

#[tokio::test]
async fn a_version_that_is_not_current_is_a_conflict() {
    let store = backend().await.store();
    save(&store, "a", "1");
    save(&store, "a", "2");
    let refused = store.upsert("a", FileContent::Text("3".into()), Some(1), "test");
    assert_eq!(refused, Err(StoreError::Conflict { path: "a".into(), expected: 1, current: 2 }));
    let refused = store.upsert("a", FileContent::Text("3".into()), Some(0), "test");
    assert_eq!(refused, Err(StoreError::Conflict { path: "a".into(), expected: 0, current: 2 }));
    let refused = store.delete("a", Some(1), "test");
    assert_eq!(refused, Err(StoreError::Conflict { path: "a".into(), expected: 1, current: 2 }));
    store.delete("a", Some(2), "test").expect("deleted");
    store.upsert("a", FileContent::Text("4".into()), Some(0), "test").expect("not there, as expected");
    assert!(matches!(store.delete("never", None, "test"), Err(StoreError::FileNotFound { .. })));
}

#[tokio::test]
async fn a_bulk_is_one_revision_or_none() {
    let store = backend().await.store();
    let entry = |path: &str, content: Option<&str>| BulkEntry {
        path: path.into(),
        content: content.map(|content| FileContent::Text(content.into())),
        expected_version: None,
    };
    save(&store, "old", "1");
    let renamed = store.bulk(vec![entry("old", None), entry("new", Some("1"))], "test").expect("renamed");
    assert_eq!(renamed.revision, 2);
    assert!(renamed.files[0].deleted && !renamed.files[1].deleted);
    let same = store.bulk(vec![entry("new", Some("1"))], "test").expect("nothing to do");
    assert_eq!((same.revision, store.head().revision), (2, 2));
    let bad = store.bulk(vec![entry("x", Some("1")), entry("a/../b", Some("2"))], "test").expect_err("refused");
    assert!(matches!(&bad, StoreError::Entry { index: 1, .. }), "{bad}");
    assert_eq!(store.newest("x"), None);
    let twice = store.bulk(vec![entry("x", Some("1")), entry("x", Some("2"))], "test").expect_err("refused");
    assert!(twice.to_string().contains("twice"), "{twice}");
    assert_eq!(store.bulk(Vec::new(), "test"), Err(StoreError::EmptyBulk));
    let many = (0..10_001).map(|index| entry(&format!("f{index}"), Some("1"))).collect();
    assert_eq!(store.bulk(many, "test"), Err(StoreError::BulkTooLarge { count: 10_001, limit: 10_000 }));
    assert_eq!(store.head().revision, 2);
}

#[tokio::test]
async fn pages_end_at_revisions_and_never_within() {
    let backend = backend().await;
    let store = backend.store();
    save(&store, "first", "1");
    let entries = (0..5).map(|index| BulkEntry {
        path: format!("bulk{index}"),
        content: Some(FileContent::Text(index.to_string())),
        expected_version: None,
    });
    store.bulk(entries.collect(), "test").expect("saved");
    save(&store, "last", "2");
    let page = changes(&backend, 0, json!({"max_rows": 2})).await;
    assert_eq!((paths(&page).len(), &page["complete"]), (6, &json!(false)), "the bulk came whole: {page}");
    assert_eq!(page["head_revision"], 3);
    let page = changes(&backend, 2, json!({"max_rows": 2})).await;
    assert_eq!((paths(&page), &page["complete"]), (vec!["last"], &json!(true)));
    let page = changes(&backend, 3, json!({})).await;
    assert_eq!((paths(&page).len(), &page["complete"]), (0, &json!(true)));
    backend.faults().page_rows(Some(1));
    assert_eq!(paths(&changes(&backend, 0, json!({})).await), ["first"]);
}

#[tokio::test]
async fn a_page_ends_past_a_megabyte_and_omits_only_within_one_revision() {
    let backend = Backend::start(BackendOptions { page_bytes: 1000, ..options() }).await.expect("starts");
    let store = backend.store();
    for path in ["a", "b", "c"] {
        save(&store, path, &path.repeat(600));
    }
    let page = changes(&backend, 0, json!({})).await;
    assert_eq!((paths(&page), &page["complete"]), (vec!["a", "b"], &json!(false)));
    assert!(page["files"][1]["content"].is_string());
    let page = changes(&backend, 0, json!({"with_content": false})).await;
    assert_eq!((paths(&page).len(), &page["complete"]), (3, &json!(true)));
    assert_eq!((&page["files"][0]["content"], &page["files"][0]["content_omitted"]), (&Value::Null, &json!(true)));
    let entries = ["d", "e", "f"].map(|path| BulkEntry {
        path: path.into(),
        content: Some(FileContent::Text(path.repeat(if path == "e" { 900 } else { 300 }))),
        expected_version: None,
    });
    store.bulk(entries.to_vec(), "test").expect("saved");
    let page = changes(&backend, 3, json!({})).await;
    let omitted: Vec<bool> =
        page["files"].as_array().expect("files").iter().map(|file| file["content_omitted"] == true).collect();
    assert_eq!((omitted, &page["complete"]), (vec![false, true, false], &json!(true)));
    let arguments = json!({"project_uuid": PROJECT, "p_file_path": "e", "p_version": 1});
    let (_, file) = rpc(&backend, &backend.editor_token(), "get_project_file", arguments).await;
    assert_eq!(file["content"].as_str().map(str::len), Some(900));
}

#[tokio::test]
async fn reads_below_the_tombstones_or_above_the_head_get_a_reset() {
    let backend = backend().await;
    let store = backend.store();
    for path in ["a", "b", "c"] {
        save(&store, path, path);
    }
    store.delete("a", None, "test").expect("deleted");
    save(&store, "d", "d");
    let reset = changes(&backend, 9, json!({})).await;
    assert_eq!((&reset["reset"], &reset["complete"], paths(&reset)), (&json!(true), &json!(true), vec!["b", "c", "d"]));
    assert_eq!(reset["files"][0]["content"], Value::Null);
    store.prune_tombstones(4);
    assert_eq!(changes(&backend, 3, json!({})).await["reset"], true);
    let kept = changes(&backend, 4, json!({})).await;
    assert_eq!((&kept["reset"], paths(&kept)), (&Value::Null, vec!["d"]));
    let whole = changes(&backend, 0, json!({})).await;
    assert_eq!((&whole["reset"], paths(&whole)), (&Value::Null, vec!["b", "c", "d"]));
    save(&store, "a", "again");
    assert_eq!(store.newest("a").map(|row| row.version), Some(3), "a version is never used twice");

    store.rewind(2);
    assert_eq!(store.head().revision, 2);
    let digest = store.head().digest;
    let whole = changes(&backend, 0, json!({})).await;
    assert_eq!(
        (paths(&whole), json!(digest)),
        (vec!["b"], json!(digest_of(whole["files"].as_array().expect("files"))))
    );
}

#[tokio::test]
async fn binary_content_is_in_storage() {
    let files = vec![SeedFile { path: "logo.png".into(), bytes: vec![0, 159, 146, 150] }];
    let backend = Backend::start(BackendOptions { files, ..options() }).await.expect("starts");
    let page = changes(&backend, 0, json!({})).await;
    let file = &page["files"][0];
    assert_eq!((&file["content"], &file["content_omitted"], &file["size"]), (&Value::Null, &json!(true), &json!(4)));
    let url = format!(
        "{}/storage/v1/object/authenticated/project-assets/{PROJECT}/{}",
        backend.url(),
        file["content_hash"].as_str().expect("a hash"),
    );
    let session = backend.agent_settings();
    let request = crate::support::http().get(url).header("apikey", session.anon_key);
    let response = request.bearer_auth(session.realtime_token).send().await.expect("an answer");
    assert_eq!(response.bytes().await.expect("a body").to_vec(), [0, 159, 146, 150]);
}

#[tokio::test]
async fn each_function_checks_the_callers_right() {
    let backend = backend().await;
    let agent = backend.agent_settings().realtime_token;
    let head = json!({"project_uuid": PROJECT});
    assert_eq!(rpc(&backend, &agent, "project_head", head.clone()).await.0, 200);
    let (status, error) = rpc(&backend, &agent, "project_head", json!({"project_uuid": OTHER})).await;
    assert_eq!((status, &error["code"]), (403, &json!("42501")));
    let foreign = backend.sign(&json!({"role": "preview_agent", "project_id": OTHER, "exp": 4_000_000_000u64}));
    assert_eq!(rpc(&backend, &foreign, "project_head", head.clone()).await.1["code"], "42501");
    let arguments = json!({"project_uuid": PROJECT, "p_file_path": "a"});
    assert_eq!(rpc(&backend, &agent, "delete_project_file", arguments).await.1["code"], "42501");
    let empty = backend.sign(&json!({"exp": 4_000_000_000u64}));
    assert_eq!(rpc(&backend, &empty, "project_head", head).await.1["code"], "PGRST301");
    let without_key = crate::support::http().post(format!("{}/rest/v1/rpc/project_head", backend.url()));
    assert_eq!(without_key.bearer_auth(agent).send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn a_legacy_database_has_only_the_legacy_listing() {
    let backend = backend().await;
    backend.faults().legacy_database(Switch::On);
    let token = backend.agent_settings().realtime_token;
    save(&backend.store(), "a", "1");
    let head = json!({"project_uuid": PROJECT});
    let (status, error) = rpc(&backend, &token, "project_head", head.clone()).await;
    assert_eq!((status, &error["code"]), (404, &json!("PGRST202")));
    let (status, rows) = rpc(&backend, &token, "list_current_files", head).await;
    assert_eq!((status, &rows[0]["file_path"], &rows[0]["content"]), (200, &json!("a"), &json!("1")));
}

#[tokio::test]
async fn the_legacy_listing_has_pages_of_a_thousand_rows() {
    let entries = (0..1500).map(|index| SeedFile { path: format!("f{index:04}"), bytes: b"x".to_vec() });
    let backend = Backend::start(BackendOptions { files: entries.collect(), ..options() }).await.expect("starts");
    let session = backend.agent_settings();
    let list = async |query: &str| {
        let url = format!("{}/rest/v1/rpc/list_current_files?{query}", backend.url());
        let request = crate::support::http().post(url).header("apikey", &session.anon_key);
        let request = request.bearer_auth(&session.realtime_token).json(&json!({"project_uuid": PROJECT}));
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let count = |rows: &Value| rows.as_array().map_or(0, Vec::len);
    let (_, first) = list("select=file_path,version&order=file_path.asc").await;
    assert_eq!((count(&first), &first[999]), (1000, &json!({"file_path": "f0999", "version": 1})));
    assert_eq!(count(&list("file_path=gt.f0999&order=file_path").await.1), 500);
    assert_eq!(count(&list("file_path=gt.f1499").await.1), 0);
    assert_eq!(list("file_path=eq.f0007&select=content").await.1, json!([{"content": "x"}]));
    assert_eq!(list("size=gt.3").await.0, 400);
}

#[tokio::test]
async fn reads_fail_have_fake_answers_and_are_delayed_by_faults() {
    let backend = backend().await;
    let (token, faults) = (backend.agent_settings().realtime_token, backend.faults());
    let head = async || rpc(&backend, &token, "project_head", json!({"project_uuid": PROJECT})).await;
    faults.fail_reads(503, FaultRate::next(2));
    assert_eq!((head().await.0, head().await.0, head().await.0), (503, 503, 200));
    faults.fail_reads(401, FaultRate::next(1));
    assert_eq!(head().await.1["code"], "PGRST303");
    faults.answer("project_head", json!({"head_revision": -1}), FaultRate::next(1));
    assert_eq!(head().await.1, json!({"head_revision": -1}));
    assert_eq!(head().await.1["head_revision"], 0);
    faults.too_many_writes(FaultRate::next(1));
    let arguments = json!({"project_uuid": PROJECT, "p_file_path": "a", "p_content": "1"});
    let (status, error) = rpc(&backend, &backend.editor_token(), "upsert_project_file", arguments).await;
    assert_eq!(
        (status, &error["code"], &error["details"]),
        (429, &json!("PT429"), &json!("{\"retry_after_ms\":1000}"))
    );
}

#[tokio::test]
async fn corrupted_content_keeps_its_hash() {
    let backend = backend().await;
    let store = backend.store();
    save(&store, "a", "1");
    let before = store.newest("a").expect("there");
    assert!(store.corrupt("a", b"other".to_vec()) && !store.corrupt("b", Vec::new()));
    let after = store.newest("a").expect("there");
    assert_eq!((before.content_hash, before.version), (after.content_hash, after.version));
    assert_eq!(after.bytes.as_deref(), Some(&b"other"[..]));
    let digest = store.head().digest;
    store.corrupt_digest();
    assert_ne!(store.head().digest, digest);
    assert!(store.upsert("../x", FileContent::Text(String::new()), None, "test").is_err());
    store.set_path_rule(PathRule::Any);
    store.upsert("../x", FileContent::Text(String::new()), None, "test").expect("taken");
}
