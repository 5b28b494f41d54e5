//! The faults of the websocket, and its bounds.

use std::time::{Duration, Instant};

use crate::support::{Client, OTHER, PATIENCE, PROJECT, QUIET, TOPIC, backend, join, options};
use local_backend::{
    Backend, BackendOptions, ChannelRights, Cut, FaultApi, FaultRate, FaultSettings, FileContent, JoinError, Switch,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

async fn joined(backend: &Backend) -> Client {
    let mut client = Client::v1(backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    client
}

fn save(backend: &Backend, content: &str) {
    backend.store().upsert("a", FileContent::Text(content.into()), None, "test").expect("saved");
}

async fn revision(client: &mut Client) -> u64 {
    let frame = client.next().await;
    frame["payload"]["payload"]["revision"].as_u64().unwrap_or_else(|| panic!("no event: {frame}"))
}

#[tokio::test]
async fn broadcasts_are_dropped_doubled_reordered_and_delayed() {
    let backend = backend().await;
    let (mut client, faults) = (joined(&backend).await, backend.faults());
    faults.drop_broadcasts(FaultRate::next(1));
    (1..=2).for_each(|n| save(&backend, &n.to_string()));
    assert_eq!(revision(&mut client).await, 2);
    faults.double_broadcasts(FaultRate::next(1));
    (3..=4).for_each(|n| save(&backend, &n.to_string()));
    assert_eq!([revision(&mut client).await, revision(&mut client).await, revision(&mut client).await], [3, 3, 4]);
    faults.reorder_broadcasts(FaultRate::next(1));
    (5..=6).for_each(|n| save(&backend, &n.to_string()));
    assert_eq!([revision(&mut client).await, revision(&mut client).await], [6, 5]);
    faults.reorder_broadcasts(FaultRate::next(1));
    save(&backend, "7");
    assert_eq!(revision(&mut client).await, 7, "a held broadcast is sent without a next one");
    faults.delay_broadcasts(Duration::from_millis(300));
    let sent = Instant::now();
    save(&backend, "8");
    faults.delay_broadcasts(Duration::ZERO);
    save(&backend, "9");
    assert_eq!([revision(&mut client).await, revision(&mut client).await], [8, 9], "a delay keeps the order");
    assert!(sent.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_same_seed_drops_the_same_broadcasts() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let backend = backend().await;
        let mut client = joined(&backend).await;
        backend.faults().seed(42);
        backend.faults().drop_broadcasts(FaultRate::with_probability(0.5));
        (0..40).for_each(|n| save(&backend, &n.to_string()));
        backend.faults().clear();
        save(&backend, "end");
        let mut seen = Vec::new();
        while seen.last() != Some(&41) {
            seen.push(revision(&mut client).await);
        }
        runs.push(seen);
    }
    assert_eq!(runs[0], runs[1]);
    assert!((5..40).contains(&runs[0].len()), "{:?}", runs[0]);
}

#[tokio::test]
async fn sockets_are_cut_in_each_way() {
    for (cut, code) in [(Cut::Abruptly, 1006), (Cut::Code(1012), 1012), (Cut::Reload, 1012)] {
        let backend = backend().await;
        let mut client = joined(&backend).await;
        backend.faults().cut(cut);
        assert_eq!(client.closed().await, code, "{cut:?}");
        joined(&backend).await;
    }
    let backend = backend().await;
    let mut client = joined(&backend).await;
    backend.stop().await;
    assert_eq!(client.closed().await, 1012, "stopped");
}

#[tokio::test]
async fn connections_and_joins_are_refused() {
    let backend = backend().await;
    let (session, faults) = (backend.agent_settings(), backend.faults());
    let query = format!("apikey={}", session.anon_key);
    faults.refuse_connections(Some(503));
    let refused = Client::try_connect(&backend, &query).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 503));
    faults.refuse_connections(Some(0));
    assert!(matches!(Client::try_connect(&backend, &query).await, Err(error) if !matches!(error, Error::Http(_))));
    faults.refuse_connections(None);
    faults.refuse_joins(Some("InitializingProjectConnection: not yet"));
    let mut client = Client::v1(&backend).await;
    client.send(join(TOPIC, "1", &session.realtime_token, true)).await;
    assert_eq!(client.next().await["payload"]["response"]["reason"], "InitializingProjectConnection: not yet");
    faults.refuse_joins(None);
    client.join(TOPIC, &session.realtime_token).await;
}

#[tokio::test]
async fn a_stalled_stream_answers_heartbeats_and_delivers_nothing() {
    let backend = backend().await;
    let mut client = joined(&backend).await;
    backend.faults().stall_streams(Switch::On);
    save(&backend, "1");
    let beat = json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "2"});
    client.send(beat).await;
    assert_eq!(client.next().await["ref"], "2");
    backend.faults().stall_streams(Switch::Off);
    save(&backend, "2");
    assert_eq!(revision(&mut client).await, 2);
}

#[tokio::test]
async fn a_stalled_channel_resumes_after_a_rejoin_or_another_token() {
    let backend = backend().await;
    let (mut one, mut two) = (joined(&backend).await, joined(&backend).await);
    backend.faults().stall_joined();
    save(&backend, "1");
    let editor = backend.editor_token();
    one.send(join(TOPIC, "2", &backend.agent_settings().realtime_token, true)).await;
    assert_eq!(one.next().await["payload"]["status"], "ok");
    assert_eq!(one.next().await["event"], "phx_close");
    let push = json!({"topic": TOPIC, "event": "access_token", "payload": {"access_token": editor}, "ref": "2", "join_ref": "1"});
    two.send(push).await;
    two.send(json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "3"})).await;
    assert_eq!(two.next().await["ref"], "3", "a pushed token has no reply");
    save(&backend, "2");
    assert_eq!((revision(&mut one).await, revision(&mut two).await), (2, 2));
}

#[tokio::test]
async fn a_frozen_socket_answers_nothing_until_it_is_released() {
    let backend = backend().await;
    let mut client = joined(&backend).await;
    backend.faults().freeze_sockets(Switch::On);
    client.send(json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "2"})).await;
    save(&backend, "1");
    client.quiet().await;
    backend.faults().freeze_sockets(Switch::Off);
    let mut seen = [client.next().await["event"].clone(), client.next().await["event"].clone()];
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, [json!("broadcast"), json!("phx_reply")]);
}

#[tokio::test]
async fn a_refused_join_blocks_the_whole_socket() {
    let backend = Backend::start(BackendOptions { join_refusal_delay: QUIET * 3, ..options() }).await.expect("starts");
    let mut client = joined(&backend).await;
    let token = backend.agent_settings().realtime_token;
    let sent = Instant::now();
    client.send(join(&format!("realtime:project:{OTHER}"), "2", &token, true)).await;
    client.send(json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "3"})).await;
    tokio::time::sleep(QUIET).await;
    save(&backend, "1");
    client.quiet().await;
    assert_eq!(client.next().await["payload"]["status"], "error");
    assert!(sent.elapsed() >= QUIET * 3);
    let mut seen = [client.next().await["event"].clone(), client.next().await["event"].clone()];
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, [json!("broadcast"), json!("phx_reply")]);
}

#[tokio::test]
async fn broadcasts_before_the_stream_is_ready_are_lost() {
    let backend = Backend::start(BackendOptions { stream_gap: QUIET, ..options() }).await.expect("starts");
    let mut client = Client::v1(&backend).await;
    let mut frame = join(TOPIC, "1", &backend.agent_settings().realtime_token, true);
    frame["payload"]["config"]["broadcast"]["replication_ready"] = json!(true);
    client.send(frame).await;
    assert_eq!(client.next().await["payload"]["status"], "ok");
    save(&backend, "1");
    let system = client.next().await;
    assert_eq!(system["payload"]["message"], "Replication connection established");
    save(&backend, "2");
    assert_eq!(revision(&mut client).await, 2);
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_socket() {
    let backend = backend().await;
    let mut client = joined(&backend).await;
    let frame = Message::text("x".repeat(5_000_001));
    // The server may hang up while the frame is still on its way.
    let _sent = futures_util::SinkExt::send(&mut client.0, frame).await;
    assert_eq!(client.closed().await, 1006);
    joined(&backend).await;
}

#[tokio::test]
async fn a_payload_above_the_limit_is_refused() {
    let backend = Backend::start(BackendOptions {
        broadcast_limit: 1000,
        channel_rights: ChannelRights::EditorSends,
        ..options()
    })
    .await
    .expect("starts");
    let mut client = Client::v1(&backend).await;
    let mut frame = join(TOPIC, "1", &backend.editor_token(), true);
    frame["payload"]["config"]["broadcast"]["ack"] = json!(true);
    client.send(frame).await;
    assert_eq!(client.next().await["payload"]["status"], "ok");
    let payload = json!({"type": "broadcast", "event": "x", "payload": {"c": "x".repeat(1000)}});
    client.send(json!({"topic": TOPIC, "event": "broadcast", "payload": payload, "ref": "2", "join_ref": "1"})).await;
    assert_eq!(client.next().await["payload"], json!({"status": "error", "response": "payload_size_exceeded"}));
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let backend = Backend::start(BackendOptions { max_connections: 2, ..options() }).await.expect("starts");
    let (one, _two) = (joined(&backend).await, joined(&backend).await);
    let query = format!("apikey={}", backend.agent_settings().anon_key);
    let third = Client::try_connect(&backend, &query).await;
    assert!(matches!(third, Err(Error::Http(response)) if response.status() == 429));
    drop(one);
    let free = async { while Client::try_connect(&backend, &query).await.is_err() {} };
    tokio::time::timeout(PATIENCE, free).await.expect("the connection is free again");
}

#[tokio::test]
async fn large_contents_and_long_lists_are_omitted() {
    let backend = Backend::start(BackendOptions { event_max_bytes: 2000, event_content_bytes: 1000, ..options() })
        .await
        .expect("starts");
    let mut client = joined(&backend).await;
    save(&backend, &"\n".repeat(1000));
    let event = client.next().await["payload"]["payload"].clone();
    assert_eq!(
        (&event["content"], &event["content_omitted"], &event["size"]),
        (&Value::Null, &json!(true), &json!(1000))
    );
    let bulk = |count: usize, content: &str| {
        let entry = |index| local_backend::BulkEntry {
            path: format!("f{count}-{index}"),
            content: Some(FileContent::Text(content.into())),
            expected_version: None,
        };
        backend.store().bulk((0..count).map(entry).collect(), "test").expect("saved");
    };
    bulk(3, &"x".repeat(700));
    let event = client.next().await["payload"]["payload"].clone();
    let omitted: Vec<bool> = (0..3).map(|index| event["files"][index]["content_omitted"] == true).collect();
    assert_eq!(omitted, [false, true, true], "{event}");
    assert!(event.to_string().len() <= 2000);
    bulk(50, "x");
    let event = client.next().await["payload"]["payload"].clone();
    assert_eq!((&event["files_omitted"], &event["count"], &event["files"]), (&json!(true), &json!(50), &json!([])));
    assert!(event.to_string().len() <= 2000);
}

#[tokio::test]
async fn a_burst_of_ten_thousand_arrives_complete_and_in_order() {
    let backend = backend().await;
    let mut client = joined(&backend).await;
    for n in 0..10_000 {
        save(&backend, &n.to_string());
    }
    for expected in 1..=10_000 {
        assert_eq!(revision(&mut client).await, expected);
    }
}

#[tokio::test]
async fn faults_are_changed_over_http() {
    let backend = Backend::start(BackendOptions { fault_api: FaultApi::Served, ..options() }).await.expect("starts");
    let (url, http) = (format!("{}/_local/faults", backend.url()), crate::support::http());
    let post = async |body: Value| {
        let response = http.post(&url).json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let body = json!({"stall_streams": true, "drop_broadcasts": {"next": 3}, "fail_reads": {"status": 500, "chance": {"probability": 1.0}}});
    assert_eq!(post(body).await.0, 200);
    let settings = backend.faults().settings();
    assert!(settings.stall_streams && settings.drop_broadcasts == FaultRate::next(3));
    assert_eq!(settings.fail_reads.map(|fail| fail.status), Some(500));
    assert_eq!(post(json!({"freeze_sockets": true})).await.1["stall_streams"], true, "the others stay");
    assert_eq!(post(json!({"no_such_fault": 1})).await.0, 400);
    assert_eq!(post(json!({"clear": true})).await.0, 200);
    assert_eq!(backend.faults().settings(), FaultSettings::default());
    let mut client = joined(&backend).await;
    assert_eq!(post(json!({"cut": {"code": 1011}})).await.0, 200);
    assert_eq!(client.closed().await, 1011);
    let shown: Value = http.get(&url).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(shown["stall_streams"], false);
    let elsewhere = http.post(&url).header("origin", "https://evil.example").json(&json!({"stall_streams": true}));
    assert_eq!(elsewhere.send().await.expect("an answer").status(), 403);
    let renamed = http.post(&url).header("host", "evil.example").json(&json!({"stall_streams": true}));
    assert_eq!(renamed.send().await.expect("an answer").status(), 403);
    assert!(!backend.faults().settings().stall_streams);
    let without = self::backend().await;
    let there = http.get(format!("{}/_local/faults", without.url())).send().await.expect("an answer");
    assert_eq!(there.status(), 404, "only where the option serves it");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let backend = Backend::start(BackendOptions { queue_bytes: 1 << 20, ..options() }).await.expect("starts");
    let mut client = joined(&backend).await;
    for n in 0..200 {
        save(&backend, &n.to_string().repeat(60_000));
        tokio::task::yield_now().await;
    }
    assert_eq!(client.closed().await, 1006);
    joined(&backend).await;
}

#[tokio::test]
async fn a_row_above_a_megabyte_comes_without_its_content() {
    let backend = backend().await;
    let mut client = Client::v1(&backend).await;
    let mut frame = join("realtime:rows", "1", &backend.editor_token(), false);
    frame["payload"]["config"]["postgres_changes"] =
        json!([{"event": "*", "schema": "public", "table": "project_files"}]);
    client.send(frame).await;
    assert_eq!(client.next().await["payload"]["status"], "ok");
    assert_eq!(client.next().await["payload"]["message"], "Subscribed to PostgreSQL");
    save(&backend, &"x".repeat((1 << 20) + 1));
    let data = client.next().await["payload"]["data"].clone();
    assert_eq!(data["errors"], json!(["Error 413: Payload Too Large"]));
    assert_eq!((&data["record"]["content"], &data["record"]["file_path"]), (&Value::Null, &json!("a")));
}

/// The reason in the answer to a join.
async fn join_reason(client: &mut Client, token: &str) -> Value {
    client.send(join(TOPIC, "1", token, true)).await;
    client.next().await["payload"]["response"]["reason"].clone()
}

#[tokio::test]
async fn joins_fail_with_the_errors_of_the_real_server() {
    let backend = backend().await;
    let (token, faults) = (backend.agent_settings().realtime_token, backend.faults());
    for error in JoinError::ALL {
        faults.fail_joins(error, FaultRate::next(1));
        let mut client = Client::v1(&backend).await;
        assert_eq!(join_reason(&mut client, &token).await, error.reason());
        match error {
            JoinError::JoinRateLimit => assert_eq!(client.closed().await, 1001),
            JoinError::MissingPartition | JoinError::MusterJoin => client.join(TOPIC, &token).await,
        }
    }
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_at_the_upgrade() {
    let backend = backend().await;
    backend.faults().change(|all| all.suspend_tenant = true);
    let query = format!("apikey={}", backend.agent_settings().anon_key);
    let Err(Error::Http(response)) = Client::try_connect(&backend, &query).await else { panic!("not refused") };
    assert_eq!(response.status(), 403);
    let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).expect("JSON");
    assert_eq!(body, json!({"error": "Realtime was disabled for this tenant"}));
    backend.faults().clear();
    joined(&backend).await;
}

#[tokio::test]
async fn a_crashed_channel_gets_its_reason_and_can_join_again() {
    let backend = backend().await;
    let mut client = joined(&backend).await;
    backend.faults().cut(Cut::CrashChannels);
    let frame = client.next().await;
    assert_eq!((&frame["event"], &frame["payload"]), (&json!("phx_error"), &json!({"reason": "channel_crash"})));
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    save(&backend, "1");
    assert_eq!(revision(&mut client).await, 1);
}

#[tokio::test]
async fn a_channel_whose_replication_does_not_start_is_closed() {
    let options = BackendOptions { replication_timeout: QUIET, ..options() };
    let backend = Backend::start(options).await.expect("starts");
    backend.faults().change(|all| all.withhold_replication = true);
    let mut client = Client::v1(&backend).await;
    let mut frame = join(TOPIC, "1", &backend.agent_settings().realtime_token, true);
    frame["payload"]["config"]["broadcast"]["replication_ready"] = json!(true);
    client.send(frame).await;
    assert_eq!(client.next().await["payload"]["status"], "ok");
    let system = client.next().await;
    assert_eq!(system["payload"]["status"], "error");
    assert_eq!(system["payload"]["message"], "Replication connection was not established in time");
    assert_eq!(client.next().await["event"], "phx_close");
}

#[tokio::test]
async fn reads_see_a_transaction_only_after_its_event() {
    let backend = backend().await;
    save(&backend, "old");
    let token = backend.agent_settings().realtime_token;
    let read = async |function: &str, mut arguments: Value| {
        arguments["project_uuid"] = json!(PROJECT);
        crate::support::rpc(&backend, &token, function, arguments).await
    };
    let head = async || read("project_head", json!({})).await.1["head_revision"].clone();
    let mut client = joined(&backend).await;
    backend.faults().visible_after(QUIET * 3);
    save(&backend, "new");
    assert_eq!(revision(&mut client).await, 2, "the event is sent at once");
    assert_eq!(head().await, 1);
    let file = json!({"p_file_path": "a", "p_version": 2});
    assert_eq!(read("get_project_file", file.clone()).await.0, 404);
    let changes = read("list_project_changes", json!({"since_revision": 2})).await.1;
    assert_eq!((&changes["reset"], &changes["head_revision"]), (&json!(true), &json!(1)));
    assert_eq!(read("list_current_files", json!({})).await.1[0]["content"], "old");
    // A writer sees the newest state.
    assert_eq!(backend.store().head().revision, 2);
    backend.faults().clear();
    save(&backend, "newer");
    assert_eq!(head().await, 1, "a later commit does not become visible before an earlier one");
    let visible = async {
        while head().await != 3 {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(PATIENCE, visible).await.expect("visible in the end");
    assert_eq!(read("get_project_file", file).await.0, 200);
    save(&backend, "newest");
    assert_eq!(head().await, 4, "without the fault a commit is visible at once");
}
