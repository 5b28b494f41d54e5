//! A folder and the store, kept equal in both directions, as editors and their users treat folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use local_backend::{Backend, BackendOptions, BulkEntry, Change, FileContent, PathRule, Store};
use preview_agent::dev::{Folder, Mirror, MirrorEvent, Opened, SENDER, WriteBack};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

/// Long enough for a busy machine; nothing waits so long where all is well.
const DEADLINE: Duration = Duration::from_secs(20);

struct Bench {
    dir: TempDir,
    store: Store,
    changes: Receiver<Change>,
    news: Arc<Mutex<Vec<MirrorEvent>>>,
    mirror: Mirror,
    backend: Backend,
}

impl Bench {
    async fn start(files: &[(&str, &str)]) -> Bench {
        Bench::with(files, WriteBack::On).await
    }

    async fn with(files: &[(&str, &str)], write_back: WriteBack) -> Bench {
        let dir = TempDir::new().unwrap();
        for (path, text) in files {
            put(dir.path(), path, text);
        }
        let news = Arc::new(Mutex::new(Vec::new()));
        let told = news.clone();
        let report: preview_agent::dev::EventSink = Arc::new(move |item| told.lock().unwrap().push(item));
        let (opened, seeds) = Opened::read(Folder::open(dir.path()).unwrap(), &report).unwrap();
        let backend = Backend::start(BackendOptions { files: seeds, ..BackendOptions::default() }).await.unwrap();
        let store = backend.store();
        let changes = store.subscribe();
        let mirror = opened.mirror(store.clone(), write_back, report).unwrap();
        Bench { dir, store, changes, news, mirror, backend }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        put(self.dir.path(), path, text);
    }

    /// The next commit that somebody made.
    async fn change(&mut self) -> Change {
        tokio::time::timeout(DEADLINE, self.changes.recv()).await.expect("a commit").unwrap()
    }

    fn text(&self, path: &str) -> Option<String> {
        let row = self.store.newest(path).filter(|row| !row.deleted)?;
        Some(String::from_utf8(row.bytes?.to_vec()).unwrap())
    }

    fn live(&self) -> BTreeMap<String, Vec<u8>> {
        self.store.current().into_iter().map(|row| (row.path, row.bytes.unwrap().to_vec())).collect()
    }

    async fn until(&self, what: &str, done: impl Fn(&Bench) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < DEADLINE, "{what}; told: {:?}", self.news.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Saves a file in the folder and waits until it came through: what was on the way before is through, too.
    async fn settle(&mut self) -> Vec<Change> {
        self.put("the-last.txt", &format!("{:?}", Instant::now()));
        let mut before = Vec::new();
        loop {
            let change = self.change().await;
            if change.files.iter().any(|file| file.path == "the-last.txt") {
                before.push(change);
                return before;
            }
            before.push(change);
        }
    }

    /// Paths of the commits that [`Bench::settle`] saw, apart from its own.
    async fn settled_paths(&mut self) -> Vec<String> {
        let changes = self.settle().await;
        let paths = changes.into_iter().flat_map(|change| change.files).map(|file| file.path);
        paths.filter(|path| path != "the-last.txt").collect()
    }

    fn conflicts(&self) -> usize {
        self.news.lock().unwrap().iter().filter(|news| matches!(news, MirrorEvent::Conflict { .. })).count()
    }

    async fn stop(self) {
        self.mirror.stop();
        self.backend.stop().await;
    }
}

fn put(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn paths(change: &Change) -> Vec<(&str, bool)> {
    change.files.iter().map(|file| (file.path.as_str(), file.deleted)).collect()
}

fn text(content: &str) -> FileContent {
    FileContent::Text(content.into())
}

#[tokio::test]
async fn what_belongs_is_read_and_the_rest_left_out() {
    let files = [
        ("src/App.tsx", "app"),
        (".env", "A=1"),
        (".env.local", "B=2"),
        ("node_modules/react/index.js", "no"),
        (".git/config", "no"),
        ("dist/index.js", "no"),
        ("src/.App.tsx.swp", "no"),
        ("src/App.tsx~", "no"),
    ];
    let bench = Bench::start(&files).await;
    let found: Vec<String> = bench.live().into_keys().collect();
    assert_eq!(found, [".env", ".env.local", "src/App.tsx"]);
    bench.stop().await;
}

#[tokio::test]
async fn a_save_in_place_is_one_update() {
    let mut bench = Bench::start(&[("src/App.tsx", "one")]).await;
    bench.put("src/App.tsx", "two");
    let change = bench.change().await;
    assert_eq!((paths(&change), change.sender.as_str()), (vec![("src/App.tsx", false)], SENDER));
    assert_eq!(bench.text("src/App.tsx").as_deref(), Some("two"));
    assert_eq!(bench.settled_paths().await, Vec::<String>::new());
    bench.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_slowly_is_read_whole() {
    use std::io::Write as _;
    let mut bench = Bench::start(&[("a.txt", "before")]).await;
    let mut file = fs::File::create(bench.path("a.txt")).unwrap();
    for part in ["half, ", "and the other half"] {
        file.write_all(part.as_bytes()).unwrap();
        file.sync_all().unwrap();
        // The pause is the case under test: longer than the watcher waits for finished files.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    drop(file);
    bench.change().await;
    assert_eq!(bench.text("a.txt").as_deref(), Some("half, and the other half"));
    bench.stop().await;
}

#[tokio::test]
async fn vims_dance_is_one_update() {
    let mut bench = Bench::start(&[("src/App.tsx", "one")]).await;
    // As vim does with backupcopy=no: probe the directory, move the old away, write the new, drop the old.
    bench.put("src/.App.tsx.swp", "swap");
    bench.put("src/4913", "");
    fs::remove_file(bench.path("src/4913")).unwrap();
    fs::rename(bench.path("src/App.tsx"), bench.path("src/App.tsx~")).unwrap();
    bench.put("src/App.tsx", "two");
    fs::remove_file(bench.path("src/App.tsx~")).unwrap();
    let change = bench.change().await;
    assert_eq!(paths(&change), [("src/App.tsx", false)]);
    assert_eq!(bench.text("src/App.tsx").as_deref(), Some("two"));
    fs::remove_file(bench.path("src/.App.tsx.swp")).unwrap();
    assert_eq!(bench.settled_paths().await, Vec::<String>::new());
    bench.stop().await;
}

#[tokio::test]
async fn a_temporary_file_renamed_over_the_old_is_one_update() {
    let mut bench = Bench::start(&[("src/App.tsx", "one")]).await;
    bench.put("src/App.tsx.tmp.1234", "two");
    fs::rename(bench.path("src/App.tsx.tmp.1234"), bench.path("src/App.tsx")).unwrap();
    let change = bench.change().await;
    assert_eq!(paths(&change), [("src/App.tsx", false)]);
    assert_eq!(bench.text("src/App.tsx").as_deref(), Some("two"));
    bench.stop().await;
}

#[tokio::test]
async fn deleted_and_made_again_is_one_update() {
    let mut bench = Bench::start(&[("src/App.tsx", "one")]).await;
    fs::remove_file(bench.path("src/App.tsx")).unwrap();
    // Within what counts as one change, and longer than finished files wait.
    tokio::time::sleep(Duration::from_millis(30)).await;
    bench.put("src/App.tsx", "two");
    assert_eq!(paths(&bench.change().await), [("src/App.tsx", false)]);
    fs::remove_file(bench.path("src/App.tsx")).unwrap();
    assert_eq!(paths(&bench.change().await), [("src/App.tsx", true)]);
    bench.stop().await;
}

#[tokio::test]
async fn a_renamed_folder_is_one_bulk_and_is_watched_under_its_new_name() {
    let files = [("src/old/a.ts", "a"), ("src/old/deep/b.ts", "b"), ("src/older.ts", "c")];
    let mut bench = Bench::start(&files).await;
    fs::rename(bench.path("src/old"), bench.path("src/new")).unwrap();
    let change = bench.change().await;
    let mut found = paths(&change);
    found.sort();
    let expected =
        [("src/new/a.ts", false), ("src/new/deep/b.ts", false), ("src/old/a.ts", true), ("src/old/deep/b.ts", true)];
    assert_eq!(found, expected);
    bench.put("src/new/deep/b.ts", "b2");
    assert_eq!(paths(&bench.change().await), [("src/new/deep/b.ts", false)]);
    bench.stop().await;
}

#[tokio::test]
async fn folders_that_trade_names_are_watched_on() {
    let bench = Bench::start(&[("a/x/1.txt", "a"), ("b/x/1.txt", "b")]).await;
    fs::rename(bench.path("a"), bench.path("c")).unwrap();
    fs::rename(bench.path("b"), bench.path("a")).unwrap();
    fs::rename(bench.path("c"), bench.path("b")).unwrap();
    bench.until("traded", |b| b.text("a/x/1.txt").as_deref() == Some("b") && b.live().len() == 2).await;
    bench.put("a/x/1.txt", "b2");
    bench.put("b/x/1.txt", "a2");
    bench.until("watched", |b| b.text("a/x/1.txt").as_deref() == Some("b2")).await;
    bench.until("watched", |b| b.text("b/x/1.txt").as_deref() == Some("a2")).await;
    bench.stop().await;
}

#[tokio::test]
async fn five_hundred_files_at_once_all_arrive() {
    let mut bench = Bench::start(&[("keep.txt", "keep")]).await;
    for number in 0..500 {
        bench.put(&format!("burst/{}/{number}.txt", number % 20), &format!("file {number}"));
    }
    bench.until("500 files", |bench| bench.live().len() == 501).await;
    let commits = bench.settle().await.len();
    println!("500 files came as {commits} commits");
    assert_eq!(bench.text("burst/19/499.txt").as_deref(), Some("file 499"));
    fs::remove_dir_all(bench.path("burst")).unwrap();
    bench.until("all gone", |bench| bench.live().len() == 2).await;
    bench.stop().await;
}

#[tokio::test]
async fn bytes_stay_bytes_and_large_files_stay_out() {
    let mut bench = Bench::start(&[]).await;
    let png: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    fs::write(bench.path("logo.png"), &png).unwrap();
    bench.change().await;
    assert_eq!(bench.live()["logo.png"], png);
    let large = fs::File::create(bench.path("large.bin")).unwrap();
    large.set_len(preview_agent::dev::MAX_FILE + 1).unwrap();
    drop(large);
    bench.until("a warning", |bench| bench.refused("large.bin")).await;
    assert_eq!(bench.settled_paths().await, Vec::<String>::new());
    bench.stop().await;
}

impl Bench {
    fn refused(&self, wanted: &str) -> bool {
        self.news.lock().unwrap().iter().any(|news| matches!(news, MirrorEvent::Refused { path, .. } if path == wanted))
    }
}

#[tokio::test]
async fn what_others_save_is_written_back_without_an_echo() {
    let mut bench = Bench::start(&[("src/App.tsx", "one"), ("src/gone/old.ts", "old")]).await;
    bench.store.upsert("src/App.tsx", text("two"), None, "editor").unwrap();
    bench.store.upsert("src/deep/new.png", FileContent::Binary(vec![0, 159, 146]), None, "editor").unwrap();
    bench.store.delete("src/gone/old.ts", None, "editor").unwrap();
    bench.until("written", |b| fs::read(b.path("src/App.tsx")).unwrap() == b"two").await;
    bench.until("written", |b| fs::read(b.path("src/deep/new.png")).is_ok_and(|png| png == [0, 159, 146])).await;
    bench.until("removed", |b| !b.path("src/gone").exists()).await;
    let senders: Vec<String> = bench.settle().await.into_iter().map(|change| change.sender).collect();
    assert_eq!(senders, ["editor", "editor", "editor", SENDER], "the last is the test's own");
    assert_eq!(bench.conflicts(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_bulk_of_another_is_written_back_whole() {
    let mut bench = Bench::start(&[("src/old.ts", "same")]).await;
    let entry = |path: &str, content| BulkEntry { path: path.into(), content, expected_version: None };
    bench.store.bulk(vec![entry("src/old.ts", None), entry("src/new.ts", Some(text("same")))], "editor").unwrap();
    bench.until("renamed", |b| b.path("src/new.ts").exists() && !b.path("src/old.ts").exists()).await;
    assert_eq!(bench.settle().await.len(), 2);
    bench.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_script_stays_executable() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::start(&[("run.sh", "one")]).await;
    fs::set_permissions(bench.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.store.upsert("run.sh", text("two"), None, "editor").unwrap();
    bench.until("written", |b| fs::read(b.path("run.sh")).unwrap() == b"two").await;
    assert_eq!(fs::metadata(bench.path("run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    bench.stop().await;
}

#[tokio::test]
async fn without_write_back_the_folder_stays_as_it_is() {
    let mut bench = Bench::with(&[("a.txt", "one")], WriteBack::Off).await;
    bench.store.upsert("a.txt", text("two"), None, "editor").unwrap();
    assert_eq!(bench.settled_paths().await, ["a.txt"]);
    assert_eq!(fs::read(bench.path("a.txt")).unwrap(), b"one");
    bench.put("a.txt", "three");
    bench.until("saved over it", |b| b.text("a.txt").as_deref() == Some("three")).await;
    assert_eq!(bench.conflicts(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_file_changed_on_both_sides_is_a_conflict_and_the_folders_stays() {
    let mut bench = Bench::start(&[("a.txt", "one")]).await;
    // The mirror hears of the commit when this task waits next: then the folder has its own change.
    bench.store.upsert("a.txt", text("the editor's"), None, "editor").unwrap();
    bench.put("a.txt", "the folder's");
    bench.until("the folder's wins", |b| b.text("a.txt").as_deref() == Some("the folder's")).await;
    bench.settle().await;
    assert_eq!(fs::read(bench.path("a.txt")).unwrap(), b"the folder's");
    let news = bench.news.lock().unwrap().clone();
    let conflict = MirrorEvent::Conflict { path: "a.txt".into(), version: 2, sender: "editor".into() };
    assert_eq!(news.iter().filter(|item| **item == conflict).count(), 1, "{news:?}");
    assert_eq!(bench.store.newest("a.txt").unwrap().version, 3);
    bench.stop().await;
}

#[tokio::test]
async fn a_file_that_the_mirror_never_read_is_not_overwritten() {
    let bench = Bench::start(&[]).await;
    bench.store.upsert("new.txt", text("the editor's"), None, "editor").unwrap();
    bench.put("new.txt", "the folder's");
    bench.until("the folder's wins", |b| b.text("new.txt").as_deref() == Some("the folder's")).await;
    assert_eq!(fs::read(bench.path("new.txt")).unwrap(), b"the folder's");
    assert_eq!(bench.conflicts(), 1);
    bench.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link() {
    use std::os::unix::fs::symlink;
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let mut bench = Bench::start(&[("a.txt", "a")]).await;
    symlink(outside.path(), bench.path("out")).unwrap();
    symlink(outside.path().join("secret.txt"), bench.path("link.txt")).unwrap();
    for path in ["out/new.txt", "out/secret.txt", "link.txt"] {
        bench.store.upsert(path, text("evil"), None, "editor").unwrap();
        bench.until("refused", |bench| bench.refused(path)).await;
    }
    bench.settle().await;
    assert_eq!(fs::read(outside.path().join("secret.txt")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(fs::symlink_metadata(bench.path("link.txt")).unwrap().is_symlink());
    bench.stop().await;
}

#[tokio::test]
async fn nothing_is_written_where_the_project_does_not_reach() {
    let mut bench = Bench::start(&[("a.txt", "a")]).await;
    bench.store.set_path_rule(PathRule::Any);
    for path in ["../escaped.txt", "node_modules/x/index.js", ".git/hooks/post-commit", "dist/x.js"] {
        bench.store.upsert(path, text("evil"), None, "editor").unwrap();
        bench.until("refused", |bench| bench.refused(path)).await;
    }
    bench.settle().await;
    for path in ["../escaped.txt", "node_modules", ".git", "dist"] {
        assert!(!bench.path(path).exists(), "{path}");
    }
    bench.stop().await;
}
