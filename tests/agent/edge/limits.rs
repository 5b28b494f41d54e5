//! What the functions refuse and what they leave: too large a project, a lost asset, a flag that is off, two at once.

use local_backend::{BulkEntry, FileContent};
use reqwest::Method;
use serde_json::{Value, json};

use crate::edge::world::{Answer, World, agent, now};

/// Bytes of one of the files that do not get smaller; the third is too much.
const LARGE: usize = 20 << 20;

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let world = World::start(&[]).await;
    flag_off(&world).await;
    two_at_once(&world).await;
    lost_asset(&world).await;
    too_large(&world).await;
}

async fn open(world: &World) -> Answer {
    let body = json!({"project_id": world.a.id});
    world.a.place.edge(Method::POST, "/preview-session", Some(&world.a.editor), body).await
}

async fn end(world: &World, session: &Value) {
    let path = format!("/preview-session/{}", session.as_str().expect("an id"));
    let ended = world.a.place.edge(Method::DELETE, &path, Some(&world.a.editor), json!(null)).await;
    assert_eq!((ended.status, &ended.body["state"]), (200, &json!("ended")), "{}", ended.body);
}

/// Sessions of the editor that are live, and machines.
async fn left(world: &World) -> (usize, usize) {
    let editor = crate::edge::world::claims(&world.a.editor)["sub"].as_str().expect("a sub").to_owned();
    let live = format!("select id from public.preview_sessions where owner_id = '{editor}' and ended_at is null");
    let machines = world.functions.as_ref().expect("they run").machines.path();
    (world.sql(&live).await.len(), std::fs::read_dir(machines).expect("a directory").count())
}

async fn flag_off(world: &World) {
    let switch = async |on: bool| {
        let key = "FSYNC_SNAPSHOT_HYDRATION";
        world.sql(&format!("update public.feature_flags set is_enabled = {on} where flag_key = '{key}'")).await;
    };
    switch(false).await;
    let refused = open(world).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("PT403")), "{}", refused.body);
    assert_eq!(refused.body["details"], json!({"flag": "FSYNC_SNAPSHOT_HYDRATION"}), "{}", refused.body);
    assert_eq!(left(world).await, (0, 0));
    switch(true).await;
}

async fn two_at_once(world: &World) {
    let answers = tokio::join!(open(world), open(world), open(world), open(world));
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer.body["session_id"]).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 202)), "{answers:?}");
    assert_eq!(left(world).await, (1, 1), "one session and one machine");
    end(world, ids[0]).await;
    assert_eq!(left(world).await, (0, 0));
}

/// Registered, and gone from storage: the file is named, and the session over. Put back, it goes on.
async fn lost_asset(world: &World) {
    let object = format!("{}/{}", world.a.id, world.a.asset);
    let rename = async |from: &str, to: &str| {
        let statement = format!("update storage.objects set name = '{to}' where name = '{from}'");
        world.sql(&statement).await;
    };
    let lost = format!("{object}-lost");
    // Something else than the snapshot that is there already.
    world.a.backend.store().upsert("later.txt", FileContent::Text("1".into()), None, "test").expect("saved");
    rename(&object, &lost).await;
    let refused = open(world).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("asset_missing")), "{}", refused.body);
    assert_eq!(refused.body["details"]["file_path"], "logo.png", "{}", refused.body);
    assert_eq!(left(world).await, (0, 0));
    rename(&lost, &object).await;
    let opened = open(world).await;
    assert_eq!(opened.status, 200, "{}", opened.body);
    end(world, &opened.body["session_id"]).await;
}

async fn too_large(world: &World) {
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for at in 0..4 {
        let content = FileContent::Binary((0..LARGE + at).map(|_| noise()).collect());
        let entry = BulkEntry { path: format!("videos/{at}.mp4"), content: Some(content), expected_version: None };
        world.a.backend.store().bulk(vec![entry], "test").expect("saved");
    }
    let before = snapshots(world).await;
    let refused = open(world).await;
    assert_eq!((refused.status, &refused.body["code"]), (413, &json!("snapshot_too_large")), "{}", refused.body);
    let details = &refused.body["details"];
    let largest: Vec<&str> =
        details["largest"].as_array().into_iter().flatten().filter_map(|file| file["file_path"].as_str()).collect();
    // Those that were read by then: it stops at the first that is too much.
    assert_eq!(largest[..3], ["videos/2.mp4", "videos/1.mp4", "videos/0.mp4"], "{details}");
    assert_eq!(details["largest"][0]["size"], json!(LARGE + 2), "{details}");
    assert!(details["at_least"].as_u64().is_some_and(|bytes| bytes < 4 * LARGE as u64), "{details}");
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("52428800") && message.contains("videos/2.mp4"), "{message}");
    assert_eq!((left(world).await, snapshots(world).await), ((0, 0), before), "nothing is left of it");
    println!("refused: {message}");
    let peak = world.functions.as_ref().expect("they run").peak_mb();
    println!("the functions had {peak} MB at most");
    assert!((1..256).contains(&peak), "more than a function has: {peak} MB");

    // A session that runs is told the same when it asks anew, and keeps its token.
    let session = &world.a.session;
    let token = world.sign(&agent(&world.a.id, session, now() + 60));
    let renew = async |want: &str| {
        let wish = json!({"session_id": session, "project_id": world.a.id, "want": [want]});
        world.a.place.edge(Method::POST, "/preview-session/renew", Some(&token), wish).await
    };
    let refused = renew("snapshot").await;
    assert_eq!((refused.status, &refused.body["code"]), (413, &json!("snapshot_too_large")), "{}", refused.body);
    assert_eq!(renew("token").await.status, 200);
    let entries =
        (0..2).map(|at| BulkEntry { path: format!("videos/{at}.mp4"), content: None, expected_version: None });
    world.a.backend.store().bulk(entries.collect(), "test").expect("deleted");
    let again = renew("snapshot").await;
    assert_eq!(again.status, 200, "smaller, it goes on: {}", again.body);
}

async fn snapshots(world: &World) -> Vec<Vec<Option<String>>> {
    world.sql("select name from storage.objects where bucket_id = 'project-snapshots' order by name").await
}
