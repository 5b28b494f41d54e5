//! What the backend answers and sends over a PostgreSQL.

use std::time::Instant;

use crate::support::postgres::{backend_over_postgres as backend, database, over, save, sql};
use crate::support::{Client, OTHER, PATIENCE, PROJECT, TOPIC, rpc};
use local_backend::{Backend, BackendOptions, BulkEntry, FaultRate, FileContent, SeedFile, StoreError, Switch};
use serde_json::{Value, json};
use sha2::Digest as _;

#[tokio::test]
async fn functions_run_in_the_database_and_answer_as_postgrest_does() {
    let backend = backend().await;
    let row = save(&backend, "src/App.tsx", "hello").await;
    assert_eq!((&row["version"], &row["revision"], &row["is_deleted"]), (&json!(1), &json!(1), &json!(false)), "{row}");
    let agent = backend.agent_settings().realtime_token;
    let head = json!({"project_uuid": PROJECT});
    let (status, answer) = rpc(&backend, &agent, "project_head", head.clone()).await;
    assert_eq!((status, &answer["head_revision"]), (200, &json!(1)));
    assert_eq!(answer["digest"], json!(backend.store().head().digest));

    let stale = json!({"project_uuid": PROJECT, "p_file_path": "src/App.tsx", "p_content": "x", "expected_version": 7});
    let (status, error) = rpc(&backend, &backend.editor_token(), "upsert_project_file", stale).await;
    assert_eq!((status, &error["code"]), (409, &json!("PT409")), "{error}");
    let details: Value = serde_json::from_str(error["details"].as_str().expect("details")).expect("JSON");
    assert_eq!(details, json!({"file_path": "src/App.tsx", "expected_version": 7, "current_version": 1}));

    let (status, error) = rpc(&backend, &agent, "project_head", json!({"project_uuid": OTHER})).await;
    assert_eq!((status, &error["code"]), (403, &json!("42501")));
    let (status, error) = rpc(&backend, &agent, "no_such_function", head.clone()).await;
    assert_eq!((status, &error["code"]), (404, &json!("PGRST202")));
    let unknown = json!({"project_uuid": PROJECT, "more": 1});
    assert_eq!(rpc(&backend, &agent, "project_head", unknown).await.1["code"], "PGRST202");
    let anon = backend.sign(&json!({"role": "anon", "exp": 4_000_000_000u64}));
    let (status, error) = rpc(&backend, &anon, "project_head", head.clone()).await;
    assert_eq!((status, &error["code"]), (401, &json!("42501")));
    let nobody = backend.sign(&json!({"role": "nobody_at_all", "exp": 4_000_000_000u64}));
    assert_eq!(rpc(&backend, &nobody, "project_head", head).await.0, 401);
    let nonsense = json!({"project_uuid": "nonsense"});
    let (status, error) = rpc(&backend, &agent, "project_head", nonsense).await;
    assert_eq!((status, &error["code"]), (400, &json!("22P02")));
    let write = json!({"project_uuid": PROJECT, "p_file_path": "a", "p_content": "x"});
    assert_eq!(rpc(&backend, &agent, "upsert_project_file", write).await.1["code"], "42501");
}

#[tokio::test]
async fn get_selects_and_pages_rows_and_never_writes() {
    let files = (0..1500).map(|index| SeedFile { path: format!("it's/f{index:04}"), bytes: b"x".to_vec() }).collect();
    let backend = Backend::start(BackendOptions { files, ..over(&database()) }).await.expect("starts");
    let session = backend.agent_settings();
    let ask = async |query: &str| {
        let url = format!("{}/rest/v1/rpc/list_current_files?project_uuid={PROJECT}&{query}", backend.url());
        let request = crate::support::http().get(url).header("apikey", &session.anon_key);
        let response = request.bearer_auth(&session.realtime_token).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, rows) = ask("select=file_path,version&order=file_path.asc").await;
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(1000)), "{rows}");
    assert_eq!(rows[999], json!({"file_path": "it's/f0999", "version": 1}));
    let (_, rows) = ask("file_path=gt.it's/f0999&order=file_path").await;
    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["content"]), (Some(500), &json!("x")));
    assert_eq!(ask("file_path=eq.it's/f0007&select=content").await.1, json!([{"content": "x"}]));
    let url =
        format!("{}/rest/v1/rpc/delete_project_file?project_uuid={PROJECT}&p_file_path=it's/f0001", backend.url());
    let request =
        crate::support::http().get(url).header("apikey", &session.anon_key).bearer_auth(backend.editor_token());
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 405);
    assert_eq!(response.json::<Value>().await.expect("JSON")["code"], "25006");
}

#[tokio::test]
async fn events_come_from_the_log_of_commits() {
    let url = database();
    let backend = Backend::start(over(&url)).await.expect("the backend starts");
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    let mut latencies = Vec::new();
    for revision in 1..=20 {
        let began = Instant::now();
        let content = revision.to_string();
        let (_, frame) = tokio::join!(save(&backend, "a.txt", &content), client.next());
        latencies.push(began.elapsed());
        assert_eq!((&frame["event"], &frame["payload"]["event"]), (&json!("broadcast"), &json!("file:update")));
        let payload = &frame["payload"]["payload"];
        assert_eq!((&payload["revision"], &payload["content"]), (&json!(revision), &json!(revision.to_string())));
        assert_eq!(payload["id"], frame["payload"]["meta"]["id"]);
    }
    latencies.sort();
    println!("from the call to the event: median {:?}, longest {:?}", latencies[10], latencies[19]);

    // Whoever writes the rows, and nothing of a transaction that is taken back.
    sql(&url, &format!("begin; insert into public.project_files (project_id, file_path, content) values ('{PROJECT}', 'no', 'no'); rollback")).await;
    sql(
        &url,
        &format!(
            "insert into public.project_files (project_id, file_path, content) values ('{PROJECT}', 'raw', 'row')"
        ),
    )
    .await;
    let frame = client.next().await;
    assert_eq!(
        (&frame["payload"]["payload"]["file_path"], &frame["payload"]["payload"]["revision"]),
        (&json!("raw"), &json!(21))
    );
    client.quiet().await;
}

#[tokio::test]
async fn policies_decide_who_joins_and_who_sends() {
    let url = database();
    let backend = Backend::start(over(&url)).await.expect("the backend starts");
    let agent = backend.agent_settings().realtime_token;
    let mut reader = Client::v1(&backend).await;
    reader.join(TOPIC, &agent).await;
    let status = format!("{TOPIC}:status");
    reader.send(crate::support::join(&status, "2", &agent, true)).await;
    assert_eq!(reader.next().await["payload"]["status"], "ok");

    for (token, topic) in [
        (agent.clone(), format!("realtime:project:{OTHER}")),
        (backend.sign(&json!({"role": "preview_agent", "project_id": OTHER, "exp": 4_000_000_000u64})), TOPIC.into()),
        (backend.sign(&json!({"role": "authenticated", "sub": OTHER, "exp": 4_000_000_000u64})), TOPIC.into()),
        (backend.agent_settings().anon_key, TOPIC.into()),
    ] {
        let mut stranger = Client::v1(&backend).await;
        stranger.send(crate::support::join(&topic, "1", &token, true)).await;
        let reply = stranger.next().await;
        assert_eq!(reply["payload"]["status"], "error", "{reply}");
        assert!(
            reply["payload"]["response"]["reason"].as_str().expect("a reason").starts_with("Unauthorized"),
            "{reply}"
        );
    }

    // The editor may send on the project's topic only where the flag says so; the agent on its status topic only.
    let send = |topic: &str, reference: &str| {
        json!({"topic": topic, "event": "broadcast", "ref": reference, "join_ref": reference,
            "payload": {"type": "broadcast", "event": "hello", "payload": {}}})
    };
    let mut editor = Client::v1(&backend).await;
    editor.join(TOPIC, &backend.editor_token()).await;
    editor.send(send(TOPIC, "1")).await;
    reader.quiet().await;
    sql(&url, "update public.feature_flags set is_enabled = true, rollout_percentage = 100 where flag_key = 'FSYNC_KEEP_CLIENT_BROADCAST'").await;
    let mut editor = Client::v1(&backend).await;
    editor.join(TOPIC, &backend.editor_token()).await;
    editor.send(send(TOPIC, "1")).await;
    assert_eq!(reader.next().await["payload"]["event"], "hello");
    let mut other = Client::v1(&backend).await;
    other.join(&status, &backend.editor_token()).await;
    reader.send(send(TOPIC, "1")).await;
    reader.send(send(&status, "2")).await;
    let frame = other.next().await;
    assert_eq!((&frame["topic"], &frame["payload"]["event"]), (&json!(status), &json!("hello")));
    editor.quiet().await;
}

#[tokio::test]
async fn rows_are_sent_only_to_subscribers_that_may_read_them() {
    let backend = backend().await;
    let subscribe = async |token: &str| {
        let mut client = Client::v1(&backend).await;
        let mut join = crate::support::join(&format!("{TOPIC}:rows"), "1", token, false);
        join["payload"]["config"]["postgres_changes"] = json!([{"event": "*", "schema": "public", "table": "project_files", "filter": format!("project_id=eq.{PROJECT}")}]);
        client.send(join).await;
        assert_eq!(client.next().await["payload"]["status"], "ok");
        assert_eq!(client.next().await["payload"]["status"], "ok", "the subscription stands");
        client
    };
    let mut agent = subscribe(&backend.agent_settings().realtime_token).await;
    let mut stranger =
        subscribe(&backend.sign(&json!({"role": "authenticated", "sub": OTHER, "exp": 4_000_000_000u64}))).await;
    save(&backend, "a", "1").await;
    let frame = agent.next().await;
    let data = &frame["payload"]["data"];
    assert_eq!(
        (&data["type"], &data["record"]["file_path"], &data["record"]["version"]),
        (&json!("INSERT"), &json!("a"), &json!(1))
    );
    assert_eq!((&data["record"]["is_deleted"], &data["record"]["content"]), (&json!(false), &json!("1")), "{data}");
    stranger.quiet().await;
}

#[tokio::test]
async fn writes_without_the_api_have_the_same_rules() {
    let backend = backend().await;
    let store = backend.store();
    let mut changes = store.subscribe();
    let row = store.upsert("a", FileContent::Text("1".into()), None, "somebody").expect("saved");
    assert_eq!((row.version, row.revision, row.bytes.as_deref()), (1, 1, Some(&b"1"[..])));
    let conflict = store.upsert("a", FileContent::Text("2".into()), Some(5), "somebody");
    assert_eq!(conflict, Err(StoreError::Conflict { path: "a".into(), expected: 5, current: 1 }));
    let entry = |path: &str, content: Option<&str>, expected_version| BulkEntry {
        path: path.into(),
        content: content.map(|content| FileContent::Text(content.into())),
        expected_version,
    };
    let refused = store.bulk(vec![entry("x", Some("1"), None), entry("a", Some("2"), Some(9))], "somebody");
    assert!(
        matches!(&refused, Err(StoreError::Entry { index: 1, error, .. })
        if **error == StoreError::Conflict { path: "a".into(), expected: 9, current: 1 }),
        "{refused:?}"
    );
    let bulk =
        store.bulk(vec![entry("a", None, Some(1)), entry("b", Some("1"), Some(0))], "somebody").expect("a rename");
    assert_eq!((bulk.revision, bulk.files[0].deleted, bulk.files[1].version), (2, true, 1));
    let first = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change");
    assert_eq!(
        (first.revision, first.files[0].path.as_str(), first.files[0].bytes.as_deref()),
        (1, "a", Some(&b"1"[..]))
    );
    let second = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change");
    let mut told: Vec<_> = second.files.iter().map(|file| (file.path.as_str(), file.version, file.deleted)).collect();
    told.sort_unstable();
    assert_eq!((second.revision, told), (2, vec![("a", 2, true), ("b", 1, false)]));
}

#[tokio::test]
async fn the_policies_of_storage_apply_to_objects() {
    let backend = backend().await;
    let bytes = vec![0, 159, 146, 150];
    let hash: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let object = format!("project-assets/{PROJECT}/{hash}");
    let anon_key = backend.agent_settings().anon_key;
    let request = |method: reqwest::Method, place: &str, token: &str| {
        let url = format!("{}/storage/v1/object{place}/{object}", backend.url());
        crate::support::http().request(method, url).header("apikey", &anon_key).bearer_auth(token)
    };
    let status_in = async |response: reqwest::Response| {
        let body: Value = response.json().await.expect("JSON");
        body["statusCode"].as_str().unwrap_or("200").to_owned()
    };
    let agent = backend.agent_settings().realtime_token;
    let upload = async |token: &str| {
        let request = request(reqwest::Method::POST, "", token).body(bytes.clone());
        status_in(request.send().await.expect("an answer")).await
    };
    let register = json!({"project_uuid": PROJECT, "p_file_path": "logo.png", "p_file_type": "image/png",
        "p_content_hash": hash, "p_size": 4});
    let (status, error) = rpc(&backend, &backend.editor_token(), "register_project_asset", register.clone()).await;
    assert_eq!((status, &error["code"]), (400, &json!("22023")), "not uploaded yet");
    assert_eq!(upload(&agent).await, "403");
    assert_eq!(upload(&backend.editor_token()).await, "200");
    assert_eq!(upload(&backend.editor_token()).await, "409");
    let (status, row) = rpc(&backend, &backend.editor_token(), "register_project_asset", register).await;
    assert_eq!((status, &row["version"]), (200, &json!(1)), "{row}");

    let read = request(reqwest::Method::GET, "/authenticated", &agent).send().await.expect("an answer");
    assert_eq!(read.bytes().await.expect("a body").to_vec(), bytes);
    let stranger = backend.sign(&json!({"role": "authenticated", "sub": OTHER, "exp": 4_000_000_000u64}));
    let refused = request(reqwest::Method::GET, "/authenticated", &stranger).send().await.expect("an answer");
    assert_eq!(status_in(refused).await, "404");
    let signed = request(reqwest::Method::POST, "/sign", &backend.editor_token()).json(&json!({"expiresIn": 60}));
    let signed: Value = signed.send().await.expect("an answer").json().await.expect("JSON");
    let url = format!("{}/storage/v1{}", backend.url(), signed["signedURL"].as_str().expect("a path"));
    assert_eq!(
        crate::support::http().get(url).send().await.expect("an answer").bytes().await.expect("a body").to_vec(),
        bytes
    );
    assert_eq!(backend.store().current()[0].bytes.as_deref(), Some(&bytes[..]));
}

#[tokio::test]
async fn faults_apply_over_a_database_too() {
    let backend = backend().await;
    let (faults, agent) = (backend.faults(), backend.agent_settings().realtime_token);
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &agent).await;
    faults.drop_broadcasts(FaultRate::next(1));
    save(&backend, "a", "1").await;
    save(&backend, "a", "2").await;
    assert_eq!(client.next().await["payload"]["payload"]["revision"], 2, "the first is lost");
    faults.double_broadcasts(FaultRate::next(1));
    save(&backend, "b", "1").await;
    assert_eq!(client.next().await["payload"]["payload"]["revision"], 3);
    assert_eq!(client.next().await["payload"]["payload"]["revision"], 3);

    let head = async || rpc(&backend, &agent, "project_head", json!({"project_uuid": PROJECT})).await;
    faults.fail_reads(503, FaultRate::next(1));
    assert_eq!((head().await.0, head().await.0), (503, 200));
    faults.page_rows(Some(1));
    let changes = json!({"project_uuid": PROJECT, "since_revision": 0});
    let (_, page) = rpc(&backend, &agent, "list_project_changes", changes).await;
    assert_eq!((page["files"].as_array().map(Vec::len), &page["complete"]), (Some(1), &json!(false)), "{page}");
    faults.too_many_writes(FaultRate::next(1));
    let arguments = json!({"project_uuid": PROJECT, "p_file_path": "a", "p_content": "3"});
    let (status, error) = rpc(&backend, &backend.editor_token(), "upsert_project_file", arguments).await;
    assert_eq!((status, &error["code"]), (429, &json!("PT429")));
    faults.legacy_database(Switch::On);
    assert_eq!(head().await.1["code"], "PGRST202");
    save(&backend, "a", "3").await;
    assert_eq!(client.next().await["payload"]["payload"].get("revision"), None);
    faults.clear();
    faults.stall_joined();
    save(&backend, "a", "4").await;
    client.quiet().await;
}
