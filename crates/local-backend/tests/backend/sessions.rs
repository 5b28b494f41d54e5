//! Snapshots by signed URL, their faults, and renewal.

use std::io::{Cursor, Read as _};
use std::time::Duration;

use crate::support::{OTHER, PATIENCE, PROJECT, QUIET, http, options, rpc};
use local_backend::{AgentSettings, Backend, BackendOptions, FaultRate, FileContent, SeedFile, SnapshotFaults};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

fn seeded() -> BackendOptions {
    let file = |path: &str, bytes: &[u8]| SeedFile { path: path.into(), bytes: bytes.into() };
    let files = vec![file("package.json", b"{}"), file("public/logo.png", &[0, 255, 1, 254]), file("src/ü.ts", b"1")];
    BackendOptions { files, ..options() }
}

async fn started() -> (Backend, AgentSettings) {
    let backend = Backend::start(seeded()).await.expect("the backend starts");
    let session = backend.agent_settings();
    (backend, session)
}

async fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(crate::support::http().get(url), |request, (name, value)| request.header(*name, *value));
    request.send().await.expect("an answer")
}

async fn renew(session: &AgentSettings, token: &str, body: Value) -> (u16, Value) {
    let request = crate::support::http().post(&session.session_url).bearer_auth(token).json(&body);
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn wish(session: &AgentSettings, want: &[&str]) -> Value {
    json!({"session_id": session.session_id, "project_id": session.project_id, "want": want})
}

#[tokio::test]
async fn the_snapshot_holds_the_files_and_its_manifest_first() {
    let (_backend, session) = started().await;
    let bytes = get(&session.snapshot_url, &[]).await.bytes().await.expect("a body");
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
    let mut manifest = String::new();
    let mut first = zip.by_index(0).expect("an entry");
    assert_eq!(first.name().expect("text"), ".preview/manifest.json");
    first.read_to_string(&mut manifest).expect("text");
    drop(first);
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(
        (&manifest["format"], &manifest["project_id"], &manifest["revision"]),
        (&json!(1), &json!(PROJECT), &json!(1))
    );
    assert_eq!(manifest["files"].as_array().map(Vec::len), Some(3));
    let mut logo = Vec::new();
    zip.by_name("public/logo.png").expect("there").read_to_end(&mut logo).expect("whole");
    assert_eq!(logo, [0, 255, 1, 254]);
    assert_eq!(zip.len(), 4);
}

#[tokio::test]
async fn ranges_resume_a_download() {
    let (_backend, session) = started().await;
    let whole = get(&session.snapshot_url, &[]).await;
    let etag = whole.headers()["etag"].to_str().expect("ASCII").to_owned();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let whole = whole.bytes().await.expect("a body");
    let rest = get(&session.snapshot_url, &[("range", "bytes=10-"), ("if-range", &etag)]).await;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    let range = format!("bytes 10-{}/{}", whole.len() - 1, whole.len());
    assert_eq!(rest.headers()["content-range"].to_str().ok(), Some(range.as_str()));
    assert_eq!(rest.bytes().await.expect("a body"), whole.slice(10..));
    let other = get(&session.snapshot_url, &[("range", "bytes=10-"), ("if-range", "\"other\"")]).await;
    assert_eq!(other.status(), StatusCode::OK);
    let past = get(&session.snapshot_url, &[("range", "bytes=9999999-")]).await;
    assert_eq!(past.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn a_bad_signed_url_is_400_with_the_reason_in_the_body() {
    let backend =
        Backend::start(BackendOptions { snapshot_lifetime: Duration::ZERO, ..seeded() }).await.expect("starts");
    let url = backend.agent_settings().snapshot_url;
    let refused = async |url: &str| {
        let response = get(url, &[]).await;
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON")["error"].clone())
    };
    assert_eq!(refused(&url).await, (400, json!("InvalidJWT")), "expired");
    assert_eq!(refused(&format!("{url}x")).await, (400, json!("InvalidJWT")), "forged");
    let (path, _) = url.split_once('?').expect("a query");
    assert_eq!(refused(path).await.0, 400, "without a token");
}

#[tokio::test]
async fn snapshot_faults_break_downloads() {
    let (backend, session) = started().await;
    let whole = get(&session.snapshot_url, &[]).await.bytes().await.expect("a body");
    let next = FaultRate::next(1);
    let broken = async |faults: SnapshotFaults| {
        backend.faults().snapshot(SnapshotFaults { chance: next, ..faults });
        get(&session.snapshot_url, &[]).await
    };
    let status = broken(SnapshotFaults { status: Some(503), ..Default::default() }).await;
    assert_eq!(status.status(), StatusCode::SERVICE_UNAVAILABLE);
    let short = broken(SnapshotFaults { truncate_at: Some(20), ..Default::default() }).await;
    assert!(short.bytes().await.is_err(), "TCP ends early");
    let wrong = broken(SnapshotFaults { wrong_byte_at: Some(0), ..Default::default() }).await;
    let wrong = wrong.bytes().await.expect("a body");
    assert_eq!((wrong[0], wrong.slice(1..)), (whole[0] ^ 0xff, whole.slice(1..)));
    let mut stalled = broken(SnapshotFaults { stall_at: Some(20), ..Default::default() }).await;
    let first = tokio::time::timeout(PATIENCE, stalled.chunk()).await.expect("in time").expect("whole");
    assert_eq!(first.map(|bytes| bytes.len()), Some(20));
    assert!(tokio::time::timeout(QUIET, stalled.chunk()).await.is_err(), "and then nothing");
    backend.faults().snapshot(SnapshotFaults { no_range: true, ..Default::default() });
    let all = get(&session.snapshot_url, &[("range", "bytes=10-")]).await;
    assert_eq!((all.status(), all.bytes().await.expect("a body")), (StatusCode::OK, whole));
}

#[tokio::test]
async fn renewal_returns_the_wanted_parts() {
    let (backend, session) = started().await;
    let (status, answer) = renew(&session, &session.realtime_token, wish(&session, &["token"])).await;
    assert_eq!(status, 200, "{answer}");
    let token = answer["realtime_token"].as_str().expect("a token");
    assert!(answer["token_expires_at"].is_string() && answer["snapshot_url"].is_null());
    let (status, answer) = renew(&session, token, wish(&session, &["snapshot"])).await;
    assert_eq!(status, 200, "the new token renews: {answer}");
    let same = answer["snapshot_url"].as_str().expect("a URL").to_owned();
    assert_eq!(same.split('?').next(), session.snapshot_url.split('?').next(), "nothing has changed");
    backend.store().upsert("new", FileContent::Text("1".into()), None, "test").expect("saved");
    let (_, answer) = renew(&session, token, wish(&session, &["snapshot"])).await;
    let newer = answer["snapshot_url"].as_str().expect("a URL").to_owned();
    assert_ne!(newer.split('?').next(), same.split('?').next());
    let mut rebuild = wish(&session, &["snapshot"]);
    rebuild["rebuild"] = json!(true);
    let (_, answer) = renew(&session, token, rebuild).await;
    let rebuilt = answer["snapshot_url"].as_str().expect("a URL").to_owned();
    assert_ne!(rebuilt.split('?').next(), newer.split('?').next(), "anew under a new id");
    for url in [same, newer, rebuilt] {
        assert_eq!(get(&url, &[]).await.status(), StatusCode::OK, "{url}");
    }
}

#[tokio::test]
async fn renewal_accepts_only_the_sessions_token() {
    let (backend, session) = started().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let token = |project: &str, exp: u64| {
        let session = &session.session_id;
        backend.sign(&json!({"role": "preview_agent", "project_id": project, "session_id": session, "exp": exp}))
    };
    let both = wish(&session, &["token", "snapshot"]);
    let status = async |token: &str| renew(&session, token, both.clone()).await.0;
    assert_eq!(status(&token(PROJECT, now - 23 * 3600)).await, 200, "a machine that slept");
    assert_eq!(status(&token(PROJECT, now - 25 * 3600)).await, 401);
    assert_eq!(status(&token(OTHER, now + 60)).await, 403);
    assert_eq!(status(&backend.editor_token()).await, 401, "no agent's");
    assert_eq!(status("garbage").await, 401);
    backend.faults().fail_renewal(410, FaultRate::next(1));
    assert_eq!(status(&session.realtime_token).await, 410);
    assert_eq!(status(&session.realtime_token).await, 200);
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused_with_its_largest_files() {
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let noise: Vec<u8> = (0..4000).map(|_| noise()).collect();
    let mut options = BackendOptions { snapshot_limit: 3000, ..seeded() };
    options.files.push(SeedFile { path: "noise.bin".into(), bytes: noise });
    let backend = Backend::start(options).await.expect("starts");
    let session = backend.agent_settings();
    assert_eq!(session.snapshot_url, "", "there is none");
    assert!(session.env().iter().all(|(name, _)| *name != "SNAPSHOT_URL"), "and none is set");
    let (status, answer) = renew(&session, &session.realtime_token, wish(&session, &["snapshot"])).await;
    assert_eq!((status, &answer["code"]), (413, &json!("snapshot_too_large")), "{answer}");
    assert_eq!(answer["details"]["largest"][0], json!({"file_path": "noise.bin", "size": 4000}), "{answer}");
    assert!(answer["message"].as_str().is_some_and(|message| message.contains("noise.bin (4000 bytes)")), "{answer}");
    backend.store().delete("noise.bin", None, "test").expect("deleted");
    assert_eq!(renew(&session, &session.realtime_token, wish(&session, &["snapshot"])).await.0, 200);
}

#[tokio::test]
async fn agent_settings_have_the_contracts_names_and_hide_secrets() {
    let (_backend, session) = started().await;
    let names: Vec<&str> = session.env().iter().map(|(name, _)| *name).collect();
    let contract = [
        "PROJECT_ID",
        "SESSION_ID",
        "SNAPSHOT_URL",
        "REALTIME_TOKEN",
        "SUPABASE_URL",
        "SUPABASE_ANON_KEY",
        "SESSION_URL",
    ];
    assert_eq!(names, contract);
    let shown = format!("{session:?}");
    assert!(
        !shown.contains(&session.realtime_token) && !shown.contains("token=") && !shown.contains(&session.anon_key)
    );
}

#[tokio::test]
async fn an_error_names_the_port_that_is_in_use() {
    let (backend, _) = started().await;
    let listen = backend.url().trim_start_matches("http://").parse().expect("an address");
    let Err(error) = Backend::start(BackendOptions { listen, ..options() }).await else { panic!("two on one port") };
    assert!(error.to_string().contains(&format!("cannot listen on {listen}")), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_was_removed_is_not_answered_with_an_older_one() {
    let (backend, _session) = started().await;
    let service = backend.sign(&json!({"role": "service_role", "exp": 4_000_000_000u64}));
    let ask = async |method: Method, place: &str, body: Value| -> Value {
        let url = format!("{}/{place}", backend.url());
        let asked = http().request(method, url).header("apikey", &service).bearer_auth(&service).json(&body);
        let asked = asked.send().await.expect("an answer");
        assert_eq!(asked.status(), StatusCode::OK);
        asked.json().await.expect("JSON")
    };
    let project = backend.agent_settings().project_id;
    let build = async || ask(Method::POST, "functions/v1/build-project-snapshot", json!({"project_id": project})).await;
    let older = build().await;
    let change = json!({"project_uuid": project, "p_file_path": "new.txt", "p_content": "new"});
    rpc(&backend, &backend.editor_token(), "upsert_project_file", change).await;
    let newest = build().await;
    assert_ne!(newest["object"], older["object"]);
    let removed = json!({"prefixes": [newest["object"]]});
    ask(Method::DELETE, "storage/v1/object/project-snapshots", removed).await;
    let again = build().await;
    assert_eq!((&again["object"], &again["built"]), (&newest["object"], &json!(true)));
}
