//! Who may call what. (Editors and collaborators beside the owner are the SQL tests' matter: no function makes them.)

use serde_json::{Value, json};

use super::target::{FAR, OTHER, Scene, Who};

/// A call of each function that changes nothing.
fn reads(scene: &Scene) -> Vec<(&'static str, Value)> {
    vec![
        ("project_head", json!({})),
        ("list_project_changes", json!({"since_revision": scene.base()})),
        ("get_project_file", json!({"p_file_path": scene.path("a"), "p_version": 1})),
    ]
}

fn writes(scene: &Scene) -> Vec<(&'static str, Value)> {
    let path = scene.path("a");
    vec![
        ("upsert_project_file", json!({"p_file_path": path, "p_content": "x", "p_file_type": "text"})),
        ("delete_project_file", json!({"p_file_path": path})),
        ("bulk_upsert_project_files", json!({"files": [{"file_path": path, "content": "x"}]})),
        ("bulk_delete_project_files", json!({"file_paths": [path]})),
        (
            "register_project_asset",
            json!({"p_file_path": path, "p_file_type": "x", "p_content_hash": "0".repeat(64), "p_size": 1}),
        ),
    ]
}

/// 401 for who has not signed in, 403 for others.
fn status(who: Who) -> u16 {
    if who == Who::Anon { 401 } else { 403 }
}

pub async fn each_function_refuses_callers_without_the_right(scene: Scene) {
    scene.save("a", "1").await;
    for (function, arguments) in reads(&scene) {
        for who in [Who::Owner, Who::Service, Who::Agent] {
            scene.call(who, function, scene.with_project(arguments.clone())).await.ok();
        }
        for who in [Who::OtherAgent, Who::Stranger, Who::Anon] {
            scene.call(who, function, scene.with_project(arguments.clone())).await.refused(status(who), "42501");
        }
    }
    for who in [Who::OtherAgent, Who::Stranger, Who::Anon] {
        let listing = scene.call(who, "list_current_files", scene.with_project(json!({}))).await;
        listing.refused(status(who), "42501");
    }
    for (function, arguments) in writes(&scene) {
        for who in [Who::Agent, Who::OtherAgent, Who::Stranger, Who::Anon] {
            scene.call(who, function, scene.with_project(arguments.clone())).await.refused(status(who), "42501");
        }
    }
    for who in [Who::Agent, Who::OtherAgent, Who::Anon] {
        let flag = scene.call(who, "is_feature_enabled", json!({"flag_key": "FSYNC_USE_RPC"})).await;
        flag.refused(status(who), "42501");
    }
    scene.head_is_base_plus(1).await;
}

pub async fn an_unknown_project_looks_like_another_users(scene: Scene) {
    let unknown = |mut arguments: Value| {
        arguments["project_uuid"] = json!("99999999-9999-4999-8999-999999999999");
        arguments
    };
    for (function, arguments) in reads(&scene).into_iter().chain(writes(&scene)) {
        // Nobody is told whether it is there; but for the service, which may ask for any.
        scene.call(Who::Owner, function, unknown(arguments.clone())).await.refused(403, "42501");
        scene.call(Who::Service, function, unknown(arguments)).await.refused(404, "PT404");
    }
}

pub async fn a_token_must_be_signed_valid_and_name_the_caller(scene: Scene) {
    let head = scene.with_project(json!({})).to_string();
    let ask = async |token: &str| scene.send(Some(token), "project_head", head.clone().into()).await;
    let good = scene.token(Who::Agent).expect("a token");
    let tampered = format!("{}A{}", &good[..good.len() - 4], &good[good.len() - 3..]);
    let other_claims = good.replacen(good.split('.').nth(1).expect("claims"), "eyJyb2xlIjoic2VydmljZV9yb2xlIn0", 1);
    for broken in [&*tampered, &other_claims, "no.jwt.at-all", "nonsense"] {
        assert_eq!(ask(broken).await.status, 401, "{broken}");
    }
    let expired = scene.sign(&json!({"role": "preview_agent", "project_id": scene.project(), "exp": 1_000_000_000}));
    ask(&expired).await.refused(401, "PGRST303");
    for claims in [
        json!({"role": "preview_agent", "exp": FAR}),
        json!({"role": "preview_agent", "project_id": null, "exp": FAR}),
        json!({"role": "preview_agent", "project_id": "", "exp": FAR}),
        json!({"role": "preview_agent", "project_id": [scene.project()], "exp": FAR}),
        json!({"role": "authenticated", "exp": FAR}),
        json!({"role": "authenticated", "sub": "no uuid", "exp": FAR}),
        json!({"role": "authenticated", "project_id": scene.project(), "exp": FAR}),
        json!({"role": "authenticated", "sub": OTHER, "project_id": scene.project(), "exp": FAR}),
    ] {
        let answer = ask(&scene.sign(&claims)).await;
        answer.refused(403, "42501");
        scene.note(json!({"claims": claims, "code": answer.code()}));
    }
    // Claims that name no role, or one that nobody may become.
    for claims in [json!({"exp": FAR}), json!({"role": "postgres", "exp": FAR}), json!({"role": "", "exp": FAR})] {
        let answer = ask(&scene.sign(&claims)).await;
        assert!([401, 403].contains(&answer.status), "{claims}: {}", answer.body);
    }
    let without_key = scene.http().post(format!("{}/rest/v1/rpc/project_head", scene.url()));
    let without_key = without_key.bearer_auth(&good).json(&scene.with_project(json!({}))).send().await;
    assert_eq!(without_key.expect("an answer").status(), 401);
}

pub async fn the_rate_limit_tells_when_to_try_again(scene: Scene) {
    // 100 at once, 20 a second: the largest bulk is half of it.
    let entries: Value =
        (0..10_000).map(|at| json!({"file_path": scene.path(&format!("f{at}")), "content": "x"})).collect();
    let bulk = scene.with_project(json!({"files": entries}));
    let mut refused = None;
    for _ in 0..20 {
        let answer = scene.ask(Who::Service, "bulk_upsert_project_files", &bulk).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("too many at some time");
    refused.refused(429, "PT429");
    let wait = refused.details()["retry_after_ms"].as_u64().expect("a time");
    assert!((1..=2500).contains(&wait), "{wait}");
    // The bucket is each user's own, and reads cost nothing.
    scene.save("mine", "x").await;
    scene.head_is_base_plus(2).await;
    scene.call(Who::Service, "bulk_upsert_project_files", bulk).await.ok();
    scene.head_is_base_plus(2).await;
}
