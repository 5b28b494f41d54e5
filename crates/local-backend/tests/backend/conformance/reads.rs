//! The read functions: shapes, order, pages, resets.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::target::{Scene, Who};

/// The contract's digest of a listing.
fn digest_of(files: &[Value]) -> String {
    let mut digest = [0u8; 32];
    for file in files.iter().filter(|file| file["is_deleted"] == false) {
        let text = |name: &str| file[name].as_str().expect("text");
        let whole = format!("{}\0{}\0{}", text("file_path"), file["version"], text("content_hash"));
        digest.iter_mut().zip(Sha256::digest(whole)).for_each(|(byte, other)| *byte ^= other);
    }
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(answer: &Value) -> &[Value] {
    answer["files"].as_array().expect("files")
}

/// Of a listing of the whole project the files of this case, without the folder.
fn own(scene: &Scene, answer: &Value) -> Vec<Value> {
    let folder = scene.path("");
    files(answer)
        .iter()
        .filter(|file| file["file_path"].as_str().is_some_and(|path| path.starts_with(&folder)))
        .cloned()
        .collect()
}

fn names(scene: &Scene, answer: &Value) -> Vec<String> {
    let folder = scene.path("");
    own(scene, answer)
        .iter()
        .filter_map(|file| Some(file["file_path"].as_str()?.strip_prefix(&folder)?.to_owned()))
        .collect()
}

async fn changes(scene: &Scene, since: i64, more: Value) -> Value {
    let mut arguments = scene.with_project(json!({"since_revision": since}));
    for (name, value) in more.as_object().into_iter().flatten() {
        arguments[name.as_str()] = value.clone();
    }
    scene.call(Who::Agent, "list_project_changes", arguments).await.ok()
}

pub async fn the_head_has_the_digest_of_the_live_files(scene: Scene) {
    scene.save("a", "1").await;
    scene.save("b", "2").await;
    scene.save("a", "3").await;
    scene.delete("b").await;
    let head = scene.agent("project_head", json!({})).await.ok();
    assert_eq!(head["head_revision"], scene.base() + 4);
    let all = scene.with_project(json!({"since_revision": 0, "max_rows": 10_000, "with_content": false}));
    let all = scene.ask(Who::Agent, "list_project_changes", &all).await.ok();
    assert_eq!(all["complete"], true);
    assert_eq!(head["digest"], json!(digest_of(files(&all))));
    assert_eq!(head["digest"], all["digest"]);
    for who in [Who::Owner, Who::Service] {
        assert_eq!(scene.call(who, "project_head", scene.with_project(json!({}))).await.ok(), head);
    }
}

pub async fn changes_come_in_order_with_tombstones(scene: Scene) {
    for (name, content) in [("c", "1"), ("b", "2\n\"ü\"\t日本 🎉"), ("a", ""), ("c", "4")] {
        scene.save(name, content).await;
    }
    scene.delete("a").await;
    let answer = changes(&scene, scene.base(), json!({})).await;
    assert_eq!(names(&scene, &answer), ["b", "c", "a"]);
    assert_eq!(answer["complete"], true);
    assert_eq!(answer.get("reset"), None);
    let [b, c, a] = files(&answer) else { panic!("three files") };
    assert_eq!((&b["content"], &b["version"], &b["size"]), (&json!("2\n\"ü\"\t日本 🎉"), &json!(1), &json!(18)));
    assert_eq!((&c["content"], &c["version"], &c["revision"]), (&json!("4"), &json!(2), &json!(scene.base() + 4)));
    assert_eq!(
        (&a["is_deleted"], &a["content_hash"], &a["content_omitted"]),
        (&json!(true), &Value::Null, &json!(false))
    );
    let bare = changes(&scene, scene.base(), json!({"with_content": false})).await;
    assert_eq!((&files(&bare)[0]["content"], &files(&bare)[0]["content_omitted"]), (&Value::Null, &json!(true)));
    assert_eq!(names(&scene, &changes(&scene, scene.base() + 4, json!({"max_rows": null})).await), ["a"]);
    assert!(files(&changes(&scene, scene.base() + 5, json!({})).await).is_empty());
}

pub async fn a_page_never_splits_a_revision(scene: Scene) {
    scene.save("first", "1").await;
    let entries = (0..5).map(|at| json!({"file_path": scene.path(&format!("bulk{at}")), "content": at.to_string()}));
    scene.owner("bulk_upsert_project_files", json!({"files": entries.collect::<Vec<_>>()})).await.ok();
    scene.save("last", "2").await;
    let page = changes(&scene, scene.base(), json!({"max_rows": 2})).await;
    assert_eq!((files(&page).len(), &page["complete"]), (6, &json!(false)));
    assert_eq!(page["head_revision"], scene.base() + 3);
    let page = changes(&scene, scene.base() + 2, json!({"max_rows": 2})).await;
    assert_eq!((names(&scene, &page), &page["complete"]), (vec!["last".to_owned()], &json!(true)));
    let page = changes(&scene, scene.base(), json!({"max_rows": 0})).await;
    assert_eq!((names(&scene, &page), &page["complete"]), (vec!["first".to_owned()], &json!(false)));
}

pub async fn a_page_ends_after_a_megabyte(scene: Scene) {
    for name in ["a", "b", "c"] {
        scene.save(name, &name.repeat(600_000)).await;
    }
    let page = changes(&scene, scene.base(), json!({})).await;
    assert_eq!((names(&scene, &page), &page["complete"]), (vec!["a".to_owned(), "b".to_owned()], &json!(false)));
    assert!(files(&page).iter().all(|file| file["content"].is_string()), "whole, since it is not one revision");
    let page = changes(&scene, scene.base(), json!({"with_content": false})).await;
    assert_eq!((files(&page).len(), &page["complete"]), (3, &json!(true)));
    let entries: Vec<Value> =
        ["d", "e", "f"].map(|name| json!({"file_path": scene.path(name), "content": name.repeat(600_000)})).into();
    scene.owner("bulk_upsert_project_files", json!({"files": entries})).await.ok();
    let page = changes(&scene, scene.base() + 3, json!({})).await;
    let omitted: Vec<bool> = files(&page).iter().map(|file| file["content_omitted"] == true).collect();
    assert_eq!((omitted, &page["complete"]), (vec![false, true, true], &json!(true)));
}

pub async fn from_zero_is_everything_and_above_the_head_is_a_reset(scene: Scene) {
    scene.save("b", "1").await;
    scene.save("gone", "2").await;
    scene.save("a", "3").await;
    scene.delete("gone").await;
    let whole = scene.with_project(json!({"since_revision": 0, "max_rows": 10_000, "with_content": false}));
    let whole = scene.ask(Who::Agent, "list_project_changes", &whole).await.ok();
    assert_eq!((&whole["complete"], whole.get("reset")), (&json!(true), None));
    scene.note(json!({"from zero": own(&scene, &whole)}));
    let above = scene.with_project(json!({"since_revision": scene.base() + 1_000_000}));
    let reset = scene.ask(Who::Agent, "list_project_changes", &above).await.ok();
    assert_eq!((&reset["complete"], &reset["reset"]), (&json!(true), &json!(true)));
    assert_eq!(reset["head_revision"], scene.base() + 4);
    assert_eq!(names(&scene, &reset), ["b", "a"], "live ones, in the order of revisions");
    assert!(own(&scene, &reset).iter().all(|file| file["content"].is_null() && file["content_omitted"] == true));
    assert_eq!(reset["digest"], json!(digest_of(files(&reset))));
    scene.note(json!({"reset": own(&scene, &reset)}));
}

pub async fn one_version_of_one_file(scene: Scene) {
    scene.save("a", "one").await;
    scene.save("a", "two").await;
    scene.delete("a").await;
    let get = async |name: &str, version: Value| {
        scene.agent("get_project_file", json!({"p_file_path": scene.path(name), "p_version": version})).await
    };
    assert_eq!(get("a", json!(1)).await.ok()["content"], "one");
    assert_eq!(get("a", json!(2)).await.ok()["content"], "two");
    for (name, version) in [("a", 3), ("a", 4), ("a", 0), ("never", 1)] {
        get(name, json!(version)).await.refused(404, "PT404");
    }
}

pub async fn the_legacy_listing_is_paged(scene: Scene) {
    let entries: Vec<Value> = (0..1100)
        .map(|at| json!({"file_path": scene.path(&format!("f{at:04}")), "content": "x", "file_type": "plain"}))
        .collect();
    scene.owner("bulk_upsert_project_files", json!({"files": entries})).await.ok();
    let (mut after, mut seen) = (format!("gt.{}", scene.path("")), Vec::new());
    loop {
        let filters = [("select", "file_path,version"), ("file_path", &*after), ("order", "file_path.asc")];
        let rows = scene.list_current_files(&filters).await.ok();
        let page: Vec<String> = rows
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["file_path"].as_str().expect("a path").to_owned())
            .collect();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 1000, "PostgREST cuts at a thousand");
        after = format!("gt.{last}");
        seen.extend(page);
    }
    seen.retain(|path| path.starts_with(&scene.path("")));
    let all: Vec<String> = (0..1100).map(|at| scene.path(&format!("f{at:04}"))).collect();
    assert_eq!(seen, all);
    let one = format!("eq.{}", scene.path("f0007"));
    let rows = scene.list_current_files(&[("file_path", &one)]).await.ok();
    assert_eq!(rows[0]["content"], "x");
    let columns: Vec<&String> = rows[0].as_object().expect("a row").keys().collect();
    assert_eq!(columns, ["content", "content_hash", "file_path", "file_type", "updated_at", "version"]);
    let after = format!("gt.{}", scene.path("f0500"));
    let filters =
        [("select", "file_path"), ("file_path", &*after), ("order", "file_path"), ("limit", "2"), ("offset", "1")];
    let rows = scene.list_current_files(&filters).await.ok();
    assert_eq!(rows, json!([{"file_path": scene.path("f0502")}, {"file_path": scene.path("f0503")}]));
}
