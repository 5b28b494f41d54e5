//! The real binary against the local backend: what is saved is on disk, whatever happens on the way.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::world::World;
use local_backend::{BulkEntry, Cut, FaultRate, FaultSettings, FileContent, Visibility};

#[test]
fn hydrates_and_follows_saves_deletes_and_bulks() {
    let world = World::new();
    let mut agent = world.agent();
    let started = Instant::now();
    world.save("src/App.tsx", "export default 2");
    let applied =
        agent.wait_until("file_applied", |event| event["file_path"] == "src/App.tsx" && event["version"] == 2);
    println!("save to log line: {:?}", started.elapsed());
    assert_eq!(applied["revision"], world.store().head().revision);
    world.in_sync(&agent);

    world.store().delete("index.html", None, "test").unwrap();
    world.in_sync(&agent);
    assert!(!agent.project().join("index.html").exists());

    let entry = |path: &str, text: Option<&str>| BulkEntry {
        path: path.into(),
        content: text.map(|text| FileContent::Text(text.into())),
        expected_version: None,
    };
    let entries = vec![entry("a/one.ts", Some("1")), entry("a/two.ts", Some("2")), entry("src/logo.png", None)];
    world.store().bulk(entries, "test").unwrap();
    agent.wait_for("bulk_applied");
    world.in_sync(&agent);
    assert!(agent.stop().code() == Some(143));
}

#[test]
fn binary_content_arrives_byte_for_byte() {
    let world = World::new();
    let agent = world.agent();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    world.store().upsert("public/font.woff2", FileContent::Binary(bytes.clone()), None, "test").unwrap();
    world.in_sync(&agent);
    assert_eq!(std::fs::read(agent.project().join("public/font.woff2")).unwrap(), bytes);
}

#[test]
fn large_content_that_the_event_leaves_out_is_fetched() {
    let world = World::new();
    let agent = world.agent();
    world.save("big.json", &"x".repeat(2_000_000));
    world.in_sync(&agent);
}

#[test]
fn speaks_both_protocol_versions() {
    for version in ["1.0.0", "2.0.0"] {
        let world = World::new();
        let mut agent = world.start().set("REALTIME_PROTOCOL", version).run();
        agent.wait_for("channel_joined");
        world.save("v.txt", version);
        world.in_sync(&agent);
    }
}

#[test]
fn what_was_missed_while_the_socket_was_cut_is_read() {
    for cut in [Cut::Abruptly, Cut::Code(1012), Cut::Reload] {
        let world = World::new();
        let mut agent = world.agent();
        world.backend().faults().refuse_connections(Some(503));
        world.backend().faults().cut(cut);
        agent.wait_for("channel_lost");
        world.save("src/App.tsx", "saved while away");
        world.store().delete("index.html", None, "test").unwrap();
        world.backend().faults().refuse_connections(None);
        agent.wait_for("channel_joined");
        world.in_sync(&agent);
    }
}

#[test]
fn survives_dropped_doubled_and_reordered_events() {
    let world = World::new();
    let agent = world.agent();
    world.backend().faults().set(FaultSettings {
        drop_broadcasts: FaultRate::with_probability(0.2),
        double_broadcasts: FaultRate::with_probability(0.2),
        reorder_broadcasts: FaultRate::with_probability(0.3),
        ..FaultSettings::default()
    });
    for edit in 0..200 {
        world.save(&format!("src/file{}.ts", edit % 7), &format!("edit {edit}"));
    }
    world.backend().faults().clear();
    let started = Instant::now();
    world.save("last.txt", "the end");
    world.in_sync(&agent);
    println!("end of faults to equal: {:?}", started.elapsed());
}

#[test]
fn a_refused_join_leads_back_to_joined() {
    let world = World::new();
    world.backend().faults().refuse_joins(Some("Unauthorized: not today"));
    let mut agent = world.start().run();
    agent.wait_for("hydrate_done");
    agent.wait_for("channel_lost");
    world.save("src/App.tsx", "saved while refused");
    world.backend().faults().refuse_joins(None);
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
}

#[test]
fn reads_that_fail_are_asked_again() {
    let world = World::new();
    let mut agent = world.current_agent();
    world.backend().faults().fail_reads(500, FaultRate::next(3));
    world.backend().faults().drop_broadcasts(FaultRate::next(1));
    world.save("a.txt", "dropped");
    world.save("b.txt", "shows the gap");
    world.in_sync(&agent);
    agent.wait_until("a catch-up", |event| event["event_type"] == "catch_up" && event["files"] != 0);
}

#[test]
fn the_token_is_renewed_before_it_ends() {
    let world = World::with(|options| options.token_lifetime = Duration::from_secs(5));
    let mut agent = world.agent();
    for round in 0..2 {
        agent.wait_for("token_renewed");
        world.save("src/App.tsx", &format!("after renewal {round}"));
        world.in_sync(&agent);
    }
}

#[test]
fn without_a_snapshot_the_files_are_read_from_the_database() {
    let world = World::new();
    let mut agent = world.start().without("SNAPSHOT_URL").run();
    world.in_sync(&agent);
    agent.wait_for("dev_server_start");
    world.save("src/App.tsx", "live");
    world.in_sync(&agent);
}

#[test]
fn status_health_and_metrics_tell_what_is() {
    let world = World::new();
    let mut agent = world.agent();
    assert_eq!(agent.get("/healthz").0, 200);
    eventually("in sync", || agent.status()["current"] == true);
    let status = agent.status();
    assert_eq!(status["revision"], world.store().head().revision);
    assert_eq!(status["connection"]["state"], "joined");
    world.save("src/App.tsx", "seen in the status");
    agent.wait_until("file_applied", |event| event["version"] == 2);
    eventually("the status names it", || agent.status()["last_applied"]["file_path"] == "src/App.tsx");
    // The dev server of this test never answers.
    let (ready, body) = agent.get("/readyz");
    assert_eq!(ready, 503, "{body}");
    let metrics = agent.get("/metrics").1;
    assert!(metrics.contains("preview_agent_revision"), "{metrics}");
    assert!(metrics.contains("preview_agent_joins_total 1"), "{metrics}");
}

#[test]
fn no_secret_is_shown_anywhere() {
    let world = World::new();
    let mut agent = world.agent();
    let session = world.backend().agent_settings();
    let status =
        agent.status().to_string() + &agent.get("/metrics").1 + &agent.get("/readyz").1 + &agent.get("/logs").1;
    agent.read_on();
    let logs: String = agent.seen.iter().map(|event| event.to_string()).collect();
    let environment = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        (parent == agent.pid()).then(|| std::fs::read(entry.path().join("environ")).unwrap_or_default())
    });
    let children: String = environment.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    for secret in [&session.realtime_token, &session.anon_key, &session.snapshot_url] {
        assert!(!status.contains(secret.as_str()), "in a page");
        assert!(!logs.contains(secret.as_str()), "in a log line");
        assert!(!children.contains(secret.as_str()), "in a child's environment");
    }
}

#[test]
fn junk_on_the_channel_is_refused_and_changes_nothing_else() {
    use serde_json::json;
    let world = World::new();
    let mut agent = world.agent();
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let next = |path: &str| {
        json!({"file_path": path, "content": "hello", "content_hash": hash, "version": 1, "revision": world.store().head().revision + 1,
               "timestamp": 0, "sender": "evil"})
    };
    let junk = [
        ("file:update", json!([])),
        ("file:update", json!("text")),
        ("file:update", json!({})),
        ("file:update", json!({"file_path": 7, "content": {}, "version": "x"})),
        (
            "file:update",
            json!({"file_path": "a.txt", "content": "x", "content_hash": "short", "version": 1, "revision": -1}),
        ),
        (
            "file:update",
            json!({"file_path": "a.txt", "content": "not hello", "content_hash": hash, "version": 1, "revision": 1e300}),
        ),
        ("file:delete", json!({"file_path": null})),
        ("bulk:apply", json!({"files": "all"})),
        ("bulk:apply", json!({"files": [{"action": "explode"}], "count": 4_000_000_000_u64})),
        ("file:rename", json!({"from": "a", "to": "b"})),
        ("", json!({})),
        ("file:update", next("../evil.txt")),
        ("file:update", next("/tmp/evil-of-preview-agent.txt")),
        ("file:update", next("node_modules/evil.js")),
        ("file:update", next("a/../../evil.txt")),
        ("file:update", next("nul\0byte")),
        ("file:update", json!({"file_path": "x".repeat(100_000), "content": "x", "version": 1})),
    ];
    for (event, payload) in junk {
        world.backend().broadcast(event, payload, Visibility::Private);
    }
    world.save("src/App.tsx", "still alive");
    world.in_sync(&agent);
    assert!(!agent.dir().join("evil.txt").exists());
    assert!(!std::path::Path::new("/tmp/evil-of-preview-agent.txt").exists());
    assert!(!agent.project().join("node_modules/evil.js").exists());
    agent.read_on();
    assert!(!agent.seen.iter().any(|event| event["event_type"] == "channel_lost"), "one bad event costs no connection");
    assert!(agent.get("/metrics").1.contains("preview_agent_rejected_total"));
}
