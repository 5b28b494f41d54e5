//! What only happens when reports are lost, which no test can bring about from outside.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use local_backend::{Backend, BackendOptions, FileContent};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    mirror: Mirror,
    told: Arc<Mutex<Vec<MirrorEvent>>>,
    _backend: Backend,
}

async fn start(spoil: impl Fn(&mut Opened)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "one").unwrap();
    let told: Arc<Mutex<Vec<MirrorEvent>>> = Arc::default();
    let to = told.clone();
    let report: EventSink = Arc::new(move |news| to.lock().unwrap().push(news));
    let (mut opened, files) = Opened::read(Folder::open(dir.path()).unwrap(), &report).unwrap();
    spoil(&mut opened);
    let backend = Backend::start(BackendOptions { files, ..BackendOptions::default() }).await.unwrap();
    let store = backend.store();
    let mirror = opened.mirror(store.clone(), WriteBack::On, report).unwrap();
    Bench { dir, store, mirror, told, _backend: backend }
}

fn holds(store: &Store, path: &str, text: &str) -> bool {
    store.newest(path).is_some_and(|row| row.bytes.as_deref() == Some(text.as_bytes()))
}

#[tokio::test]
async fn lost_reports_end_in_a_comparison_and_the_folder_is_watched_again() {
    let Bench { dir, store, mirror, told, _backend } = start(|opened| opened.watches.forget("")).await;
    fs::write(dir.path().join("a.txt"), "two").unwrap();
    fs::write(dir.path().join("b.txt"), "new").unwrap();
    mirror.sender.send(Notice::Signal(FileSignal::Lost("the queue is full".into()))).unwrap();
    until("compared", || holds(&store, "a.txt", "two") && holds(&store, "b.txt", "new")).await;
    assert!(matches!(told.lock().unwrap()[0], MirrorEvent::ComparingAll { .. }));
    fs::write(dir.path().join("a.txt"), "three").unwrap();
    until("watched again", || holds(&store, "a.txt", "three")).await;
    mirror.stop();
}

#[tokio::test]
async fn missed_commits_are_made_up_for() {
    let Bench { dir, store, mirror, .. } = start(|_| {}).await;
    mirror.forwarder.abort();
    until("no forwarder", || mirror.forwarder.is_finished()).await;
    store.upsert("a.txt", FileContent::Text("two".into()), None, "editor").unwrap();
    store.upsert("b.txt", FileContent::Text("new".into()), None, "editor").unwrap();
    store.upsert("c.txt", FileContent::Text("short-lived".into()), None, "editor").unwrap();
    store.delete("c.txt", None, "editor").unwrap();
    mirror.sender.send(Notice::Lagged).unwrap();
    let read = |path| fs::read_to_string(dir.path().join(path)).unwrap_or_default();
    until("written back", || read("a.txt") == "two" && read("b.txt") == "new").await;
    store.delete("b.txt", None, "editor").unwrap();
    mirror.sender.send(Notice::Lagged).unwrap();
    until("removed", || !dir.path().join("b.txt").exists()).await;
    assert!(!dir.path().join("c.txt").exists());
    mirror.stop();
}

#[tokio::test]
async fn a_folder_that_is_taken_away_empties_no_project() {
    let Bench { dir, store, mirror, told, .. } = start(|_| {}).await;
    let elsewhere = dir.path().with_extension("moved");
    fs::rename(dir.path(), &elsewhere).unwrap();
    until("told", || told.lock().unwrap().iter().any(|news| matches!(news, MirrorEvent::FolderGone { .. }))).await;
    assert!(holds(&store, "a.txt", "one"));
    mirror.stop();
    fs::remove_dir_all(elsewhere).unwrap();
}
