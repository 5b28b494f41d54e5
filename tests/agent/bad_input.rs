//! The real binary and a database that says what it must never say: it stays alive, shows why, and is right afterwards.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use crate::support::world::World;
use crate::support::{Agent, Start, eventually};
use local_backend::{FaultRate, Visibility};
use serde_json::{Value, json};

const ALWAYS: f64 = 1.0;

/// A reason to read what changed.
fn nudge(world: &World) {
    world.backend().broadcast(
        "snapshot:ready",
        json!({"snapshot_url": "https://x.invalid/s.zip", "timestamp": 0}),
        Visibility::Private,
    );
}

fn degraded(agent: &mut Agent, reason: &str) -> bool {
    agent.status()["degraded"].as_array().unwrap().iter().any(|shown| shown == reason)
}

fn counted(agent: &mut Agent, metric: &str) -> bool {
    agent.get("/metrics").1.lines().any(|line| line.starts_with(metric) && !line.ends_with(" 0"))
}

/// Nothing of it is left: the same agent follows, and shows nothing any more.
fn is_well(world: &World, agent: &mut Agent) {
    world.save("src/App.tsx", "after it all");
    world.in_sync(agent);
    eventually("it says so", || {
        let status = agent.status();
        status["current"] == true && status["debts"]["count"] == 0 && status["degraded"] == json!([])
    });
}

#[test]
fn content_that_does_not_match_its_hash_is_a_debt_until_the_row_changes() {
    let world = World::new();
    let mut agent = world.agent();
    let lie = json!({"file_path": "big.json", "version": 1, "content": "evil", "encoding": "utf-8", "size": 4,
        "content_hash": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"});
    world.backend().faults().answer("get_project_file", lie, FaultRate::with_probability(ALWAYS));
    world.save("big.json", &"x".repeat(2_000_000));
    eventually("it is shown as unverifiable", || agent.status()["debts"]["first"][0]["reason"] == "unverifiable");
    assert!(!agent.project().join("big.json").exists());
    world.save("other.ts", "goes on");
    eventually("it blocks nothing else", || agent.project().join("other.ts").exists());
    world.backend().faults().clear();
    world.save("big.json", "small");
    is_well(&world, &mut agent);
}

#[test]
fn a_revision_that_jumps_or_runs_backwards_changes_nothing() {
    let world = World::new();
    let mut agent = world.agent();
    let update = |revision: u64| {
        json!({"file_path": "src/App.tsx", "version": 9, "content": "hello", "revision": revision,
        "content_hash": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "timestamp": 0, "sender": "x"})
    };
    let head = world.store().head().revision;
    world.backend().broadcast("file:update", update(head + 1_000_000_000), Visibility::Private);
    eventually("the jump is dropped", || counted(&mut agent, "preview_agent_skipped_total{reason=\"unreachable\"}"));
    world.backend().broadcast("file:update", update(0), Visibility::Private);
    eventually("the old one is skipped", || counted(&mut agent, "preview_agent_skipped_total{reason=\"old\"}"));
    assert!(world.equal(&agent));
    eventually("its revision is what it was", || agent.status()["revision"] == head);
    is_well(&world, &mut agent);
}

#[test]
fn a_head_below_ours_is_followed_down_and_up_again() {
    let world = World::new();
    let mut agent = world.agent();
    for n in 0..5 {
        world.save("src/App.tsx", &format!("edit {n}"));
    }
    world.in_sync(&agent);
    let rows: Vec<Value> = world
        .store()
        .current()
        .into_iter()
        .filter(|row| row.path != "src/App.tsx")
        .map(|row| {
            let bytes = row.bytes.unwrap();
            json!({"file_path": row.path, "version": 1, "revision": 1, "size": bytes.len(), "is_deleted": false,
            "content_hash": sync_core::ContentHash::of(&bytes).to_string(), "content": null, "content_omitted": true})
        })
        .collect();
    let backup = json!({"head_revision": 1, "complete": true, "reset": true, "files": rows});
    let head = json!({"head_revision": 1, "digest": "0".repeat(64)});
    let faults = world.backend().faults();
    faults.answer("list_project_changes", backup.clone(), FaultRate::next(1));
    nudge(&world);
    agent.wait_until("a lower head", |event| event["reason"] == "commit_not_visible");
    is_well(&world, &mut agent);
    assert!(world.equal(&agent), "a single answer undoes nothing");
    // One that still stands 10 s later is true.
    faults.answer("list_project_changes", backup, FaultRate::with_probability(ALWAYS));
    faults.answer("project_head", head, FaultRate::with_probability(ALWAYS));
    nudge(&world);
    agent.wait_until("the way down", |event| event["event_type"] == "catch_up" && event["to"] == 1);
    faults.clear();
    is_well(&world, &mut agent);
}

#[test]
fn an_empty_answer_where_there_were_files_removes_nothing() {
    let world = World::new();
    let mut agent = world.current_agent();
    let empty = json!({"head_revision": world.store().head().revision, "complete": true, "reset": true, "files": []});
    world.backend().faults().answer("list_project_changes", empty, FaultRate::next(1));
    nudge(&world);
    let skipped = "preview_agent_skipped_total{reason=\"removal_asked_again\"}";
    eventually("it is asked for again", || counted(&mut agent, skipped));
    is_well(&world, &mut agent);
    agent.read_on();
    let deleted = agent.seen.iter().any(|event| event["action"] == "deleted");
    assert!(!deleted, "a file was deleted on the word of one answer");
}

#[test]
fn the_manifest_of_another_project_is_refused() {
    for (renewal, told) in [(true, "snapshot_renewal"), (false, "hydrate_fallback")] {
        let world = World::new();
        let start = if renewal { world.start() } else { world.start().without("SESSION_URL") };
        let other = start.temp.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("evil.txt"), "another project's").unwrap();
        let zip = start.temp.path().join("other.zip");
        let built = std::process::Command::new(env!("CARGO_BIN_EXE_preview-agent"))
            .arg("snapshot")
            .arg(&other)
            .arg("--out")
            .arg(&zip)
            .args(["--project-id", "22222222-2222-4222-8222-222222222222"])
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        let mut agent = start.without("SNAPSHOT_URL").arg("--snapshot").arg(zip.to_str().unwrap()).run();
        let said = agent.wait_for(told);
        assert!(said["message"].as_str().unwrap().contains("22222222"), "{said}");
        agent.wait_for("dev_server_start");
        is_well(&world, &mut agent);
    }
}

#[test]
fn answers_of_the_wrong_shape_are_shown_and_asked_for_again() {
    let shapes =
        [json!(null), json!(7), json!([]), json!({"head_revision": "x"}), json!({"head_revision": -1, "complete": 1})];
    for shape in shapes {
        let world = World::new();
        let mut agent = world.agent();
        world.backend().faults().answer("list_project_changes", shape.clone(), FaultRate::with_probability(ALWAYS));
        nudge(&world);
        eventually(&format!("{shape} is shown"), || degraded(&mut agent, "reads_failing"));
        assert!(world.equal(&agent));
        world.backend().faults().clear();
        is_well(&world, &mut agent);
    }
}

#[test]
fn pages_that_never_end_are_given_up() {
    let world = World::new();
    let mut agent = world.agent();
    let page = json!({"head_revision": 1_000_000, "complete": false, "files": []});
    world.backend().faults().answer("list_project_changes", page, FaultRate::with_probability(ALWAYS));
    nudge(&world);
    eventually("it is shown", || degraded(&mut agent, "reads_failing"));
    let errors = agent.status()["last_errors"].to_string();
    assert!(errors.contains("has no row above the page before"), "{errors}");
    assert!(world.equal(&agent));
    world.backend().faults().clear();
    is_well(&world, &mut agent);
}

#[test]
fn a_snapshot_that_is_ready_is_a_reason_to_catch_up_and_never_fetched() {
    let world = World::new();
    let mut agent = world.current_agent();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    world.backend().faults().drop_broadcasts(FaultRate::next(1));
    world.save("src/App.tsx", "its event is lost");
    let url = format!("http://{}/snapshot.zip", foreign.local_addr().unwrap());
    let ready = json!({"snapshot_url": url, "revision": world.store().head().revision, "timestamp": 0});
    world.backend().broadcast("snapshot:ready", ready, Visibility::Private);
    agent.wait_until("a catch-up", |event| event["cause"] == "snapshot_ready");
    world.in_sync(&agent);
    is_well(&world, &mut agent);
    assert_eq!(foreign.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a foreign origin was asked");
}

/// A renewal endpoint that answers with these tokens, one after the other.
fn session_endpoint(tokens: Vec<String>) -> String {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/renew", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut tokens = tokens.into_iter();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 16_384];
            // Its head and its small body come in one or two pieces; nothing in them matters.
            if stream.read(&mut request).is_err() {
                continue;
            }
            let token = tokens.next().unwrap_or_default();
            let body = json!({"realtime_token": token}).to_string();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_new_token_that_the_channel_refuses_is_replaced_by_another() {
    let world = World::with(|options| options.token_lifetime = std::time::Duration::from_secs(5));
    let session = world.backend().agent_settings();
    let token = |iat: u64, exp: u64| {
        let (project, session) = (&session.project_id, &session.session_id);
        let claims =
            json!({"role": "preview_agent", "project_id": project, "session_id": session, "iat": iat, "exp": exp});
        world.backend().sign(&claims)
    };
    let refused = token(now() - 7_200, now() - 3_600);
    let good = token(now(), now() + 3_600);
    let start: Start = world.start().set("SESSION_URL", session_endpoint(vec![refused, good]));
    let mut agent = start.run();
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
    agent.wait_for("token_renewed");
    let lost = agent.wait_for("channel_lost");
    println!("{lost}");
    world.save("src/App.tsx", "saved while refused");
    agent.wait_for("token_renewed");
    agent.wait_for("channel_joined");
    is_well(&world, &mut agent);
}
