//! Bad input: paths, text, calls.

use serde_json::{Value, json};

use super::target::{Scene, Who};

/// One of each kind.
fn invalid_paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../up",
        "a/../b",
        "a/..",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\nb",
        "a\rb",
        "a\tb",
        "\u{1b}[31m",
        "\u{7f}",
        "a\u{85}b",
        "a\\..\\b",
        "C:\\windows",
        "node_modules/x",
        "a/node_modules/b",
        "NODE_MODULES/x",
        ".git/config",
        "a/.Git/hooks/post-checkout",
        ".git",
        ".preview/manifest.json",
        ".PREVIEW/x",
    ]
    .map(String::from)
    .into();
    paths.push("a".repeat(256));
    paths.push("a/".repeat(2100) + "b");
    paths.push("ü".repeat(128));
    paths.push(vec!["a"; 65].join("/"));
    paths
}

pub async fn invalid_paths_are_refused_by_every_write(scene: Scene) {
    for path in invalid_paths() {
        let save = json!({"p_file_path": path, "p_content": "x", "p_file_type": "text"});
        scene.owner("upsert_project_file", save).await.refused(400, "22023");
        scene.owner("delete_project_file", json!({"p_file_path": path})).await.refused(400, "22023");
        for files in [json!([{"file_path": path, "content": "x"}]), json!([{"action": "delete", "file_path": path}])] {
            let answer = scene.owner("bulk_upsert_project_files", json!({"files": files})).await;
            answer.refused(400, "22023");
            assert_eq!(answer.details()["entry"], 0, "{path:?}");
        }
        let answer = scene.owner("bulk_delete_project_files", json!({"file_paths": [path]})).await;
        answer.refused(400, "22023");
    }
    // What only looks like it is taken.
    for name in ["..a/b..", ".gitignore", "x/.preview/y", "node_modules.txt", "a b/ü/日本.txt", "[id].tsx", ".env"] {
        scene.save(name, "x").await;
    }
    scene.save(&vec!["a"; 62].join("/"), "the folder of the case makes it 64 parts").await;
    scene.head_is_base_plus(8).await;
}

pub async fn a_file_type_has_at_most_255_bytes(scene: Scene) {
    let save = |file_type: String| json!({"p_file_path": scene.path("a"), "p_content": "x", "p_file_type": file_type});
    scene.owner("upsert_project_file", save("x".repeat(256))).await.refused(400, "22023");
    scene.owner("upsert_project_file", save("ü".repeat(128))).await.refused(400, "22023");
    let file = json!([{"file_path": scene.path("a"), "content": "x", "file_type": "x".repeat(256)}]);
    let answer = scene.owner("bulk_upsert_project_files", json!({"files": file})).await;
    answer.refused(400, "22023");
    assert_eq!(answer.details()["entry"], 0);
    scene.owner("upsert_project_file", save("x".repeat(255))).await.ok();
    scene.head_is_base_plus(1).await;
}

pub async fn content_that_is_not_text_is_refused(scene: Scene) {
    let nul = |path: &str, content: &str| json!({"p_file_path": path, "p_content": content, "p_file_type": "text"});
    scene.owner("upsert_project_file", nul(&scene.path("a"), "a\0b")).await.refused(400, "22P05");
    scene.owner("upsert_project_file", nul("a\0b", "x")).await.refused(400, "22P05");
    let entry = json!([{"file_path": scene.path("a"), "content": "a\0b"}]);
    assert_eq!(scene.owner("bulk_upsert_project_files", json!({"files": entry})).await.status, 400);
    scene
        .owner("upsert_project_file", json!({"p_file_path": scene.path("a"), "p_content": null}))
        .await
        .refused(400, "22023");
    let token = scene.token(Who::Owner);
    let body = |content: &[u8]| {
        let head =
            format!(r#"{{"project_uuid":"{}","p_file_path":"{}","p_content":""#, scene.project(), scene.path("a"));
        [head.as_bytes(), content, b"\"}"].concat()
    };
    // Bytes that are no UTF-8, half of a surrogate pair, and what is no JSON.
    for content in [&b"\xff\xfe"[..], b"\xc3", b"\\ud800", b"\\udc00 x", b"\n", b"\"", b"\\x"] {
        let answer = scene.send(token.as_deref(), "upsert_project_file", body(content)).await;
        assert_eq!(answer.status, 400, "{content:?}: {}", answer.body);
        scene.note(json!({"content": format!("{content:?}"), "status": answer.status}));
    }
    scene.head_is_base_plus(0).await;
    // Everything else is text.
    let odd = "\u{1}\u{7f}\u{85}\u{feff}\u{fffd}\u{10ffff}\r\n\u{2028}";
    assert_eq!(scene.save("odd", odd).await["content"], json!(odd));
}

pub async fn malformed_calls_are_refused(scene: Scene) {
    let project = json!(scene.project());
    let owner = async |function: &str, arguments: Value| scene.call(Who::Owner, function, arguments).await;
    owner("no_such_function", json!({})).await.refused(404, "PGRST202");
    owner("project_head", json!({})).await.refused(404, "PGRST202");
    owner("project_head", json!({"project_uuid": project, "more": 1})).await.refused(404, "PGRST202");
    owner("project_head", json!({"project_uuid": "no uuid"})).await.refused(400, "22P02");
    scene.owner("list_project_changes", json!({"since_revision": -1})).await.refused(400, "22023");
    for function in ["upsert_project_file", "delete_project_file"] {
        let mut arguments = json!({"p_file_path": scene.path("a"), "expected_version": -1});
        if function == "upsert_project_file" {
            arguments["p_content"] = json!("x");
        }
        scene.owner(function, arguments).await.refused(400, "22023");
    }
    for body in ["", "{", "[]", "7", "no JSON"] {
        let answer = scene.send(scene.token(Who::Owner).as_deref(), "project_head", body.into()).await;
        assert!((400..500).contains(&answer.status), "{body:?}: {}", answer.body);
    }
    scene.head_is_base_plus(0).await;
}
