//! An event arrives before its transaction can be read: nothing goes back to an older state, and nothing is claimed that
//! is not known. Over the store in memory, and over a PostgreSQL that waits for a standby which does not exist.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::{Agent, eventually};
use local_backend::testing::{PostgresServer, sql};
use local_backend::{Cut, DatabaseUrl, FileContent, SeedFile};
use serde_json::Value;

/// Above the size from which an event omits the content.
const LARGE: usize = 200_000;
/// The bound is 1 s; the rest is for a busy machine.
const ON_DISK_WITHIN: Duration = Duration::from_millis(2_500);

fn large(word: &str) -> String {
    word.repeat(LARGE / word.len())
}

/// Every content that a file had, with the time at which it was first seen.
struct Watched {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, String)>>,
}

impl Watched {
    fn start(path: &Path) -> Watched {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (path.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut seen: Vec<(Instant, String)> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let content = std::fs::read_to_string(&path).unwrap_or_else(|_| "absent".into());
                let word: String = content.chars().take(6).collect();
                if seen.last().is_none_or(|(_, last)| *last != word) {
                    seen.push((Instant::now(), word));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Watched { stop, thread }
    }

    fn finish(self) -> Vec<(Instant, String)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn world(database: Option<DatabaseUrl>) -> World {
    World::with(|options| {
        options.files.push(SeedFile { path: "large.txt".into(), bytes: large("before").into_bytes() });
        options.files.push(SeedFile { path: "small.txt".into(), bytes: b"before".to_vec() });
        options.database_url = database;
    })
}

fn readiness(agent: &mut Agent) -> Value {
    serde_json::from_str(&agent.get("/readyz").1).expect("JSON")
}

/// Waits until `/readyz` denies `current` for this reason.
fn denies_current(agent: &mut Agent) {
    eventually("current is denied because a commit is not visible", || {
        let body = readiness(agent);
        let reasons = body["reasons"].as_array().expect("a list");
        body["current"] == false && reasons.contains(&"commit_not_visible".into())
    });
}

fn words(seen: &[(Instant, String)]) -> Vec<&str> {
    seen.iter().map(|(_, word)| word.as_str()).collect()
}

/// Checks what was seen of a file whose new content could be read from `visible` on.
fn assert_once_and_in_time(seen: &[(Instant, String)], visible: Instant, what: &str) {
    assert_eq!(words(seen), ["before", "after "], "{what}");
    let late = seen[1].0.saturating_duration_since(visible);
    println!("{what}: on disk {late:?} after it could be read");
    assert!(late < ON_DISK_WITHIN, "{what}: {late:?}");
}

#[test]
fn a_large_file_is_on_disk_as_soon_as_its_commit_can_be_read() {
    let world = world(None);
    let mut agent = world.agent();
    for late in [Duration::from_millis(400), Duration::from_secs(4)] {
        world.store().upsert("large.txt", FileContent::Text(large("before")), None, "test").expect("saved");
        world.in_sync(&agent);
        eventually("current", || readiness(&mut agent)["current"] == true);
        let watched = Watched::start(&agent.project().join("large.txt"));
        world.backend().faults().change(|all| all.visible_after_ms = late.as_millis() as u64);
        let saved = Instant::now();
        world.store().upsert("large.txt", FileContent::Text(large("after ")), None, "test").expect("saved");
        if late > Duration::from_secs(1) {
            denies_current(&mut agent);
        }
        let visible = saved + late;
        world.in_sync(&agent);
        world.backend().faults().clear();
        eventually("current", || readiness(&mut agent)["current"] == true);
        assert_once_and_in_time(&watched.finish(), visible, &format!("in memory, {late:?}"));
    }
    let age = agent.status()["head_age_ms"].as_u64().expect("a read showed the head");
    assert!(age < 60_000, "{age} ms");
    assert!(agent.get("/metrics").1.contains("preview_agent_head_age_seconds "));
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn a_rejoin_before_the_commit_can_be_read_undoes_nothing() {
    let world = world(None);
    let mut agent = world.agent();
    let watched = Watched::start(&agent.project().join("small.txt"));
    world.backend().faults().change(|all| all.visible_after_ms = 5_000);
    world.save("small.txt", "after ");
    agent.wait_for("file_applied");
    // Each rejoin reads what it missed above a revision that reads do not show yet: the answer is a reset to an older one.
    world.backend().faults().cut(Cut::Abruptly);
    denies_current(&mut agent);
    assert_eq!(agent.status()["revision"], world.store().head().revision);
    eventually("current", || readiness(&mut agent)["current"] == true);
    world.backend().faults().clear();
    assert_eq!(words(&watched.finish()), ["before", "after "]);
    assert_eq!(agent.stop().code(), Some(143));
}

fn run(database: &DatabaseUrl, statement: &str) -> Vec<Vec<Option<String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(sql(database, statement)).expect(statement)
}

/// A reload of the server's configuration takes effect some time later. Commits until one waits, and returns that one.
fn wait_until_commits_wait(database: &DatabaseUrl) -> JoinHandle<()> {
    for round in 0.. {
        let to = database.clone();
        let commit = std::thread::spawn(move || {
            run(&to, &format!("create table public.probe_{round} ()"));
        });
        let waits = "select 1 from pg_stat_activity where wait_event = 'SyncRep'";
        while !commit.is_finished() {
            if !run(database, waits).is_empty() {
                return commit;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        commit.join().expect("the probe ends");
        assert!(round < 1_000, "no commit waits for the standby");
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn a_postgres_that_waits_for_a_standby_makes_no_file_go_back() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let database = server.database().expect("a database");
    let run = |statement: &str| run(&database, statement);
    let world = world(Some(database.clone()));
    let mut agent = world.agent();
    let large_file = Watched::start(&agent.project().join("large.txt"));
    let small_file = Watched::start(&agent.project().join("small.txt"));
    run("alter system set synchronous_standby_names = 'absent'");
    run("select pg_reload_conf()");
    let waiting = wait_until_commits_wait(&database);
    let store = world.store();
    let saving = std::thread::spawn(move || {
        store.upsert("large.txt", FileContent::Text(large("after ")), None, "test").expect("saved");
    });
    denies_current(&mut agent);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(readiness(&mut agent)["current"], false);
    run("alter system reset synchronous_standby_names");
    let visible = Instant::now();
    run("select pg_reload_conf()");
    saving.join().expect("the save ends");
    waiting.join().expect("the probe ends");
    world.in_sync(&agent);
    eventually("current", || readiness(&mut agent)["current"] == true);
    assert_once_and_in_time(&large_file.finish(), visible, "PostgreSQL");
    assert_eq!(words(&small_file.finish()), ["before"]);
    assert_eq!(agent.stop().code(), Some(143));
}
