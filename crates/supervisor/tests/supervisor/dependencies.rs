//! Installs, with shell scripts in place of package managers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::Harness;
use supervisor::dependencies::{Dependencies, KEY_FILE, check_dependencies};
use supervisor::dev_server::{DevServerEvent, DevServerState, FaultReason};
use supervisor::directory::Directory;
use supervisor::process::Environment;
use tempfile::TempDir;

const SERVER: &str =
    "require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT, '127.0.0.1');";
const PACKAGE: &str = r#"{"dependencies": {"a": "1"}, "scripts": {"dev": "x"}}"#;
const OTHER: &str = r#"{"dependencies": {"a": "2"}, "scripts": {"dev": "x"}}"#;
/// Makes a tree that holds the package.json it was made from.
const WORKS: &str = "mkdir -p node_modules/a && cp package.json node_modules/a/";

/// A directory of programs that comes first on the PATH.
fn programs(scripts: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, script) in scripts {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> '{}/calls'\n{script}\n", dir.path().display()))
            .expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    dir
}

fn calls(programs: &TempDir) -> Vec<String> {
    let calls = std::fs::read_to_string(programs.path().join("calls")).unwrap_or_default();
    calls.lines().map(str::to_owned).collect()
}

fn environment(programs: &TempDir) -> Environment {
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").expect("a PATH"));
    let mut environment = Environment::pick(std::env::vars_os());
    environment.set("PATH", path);
    environment
}

async fn harness(programs: &TempDir) -> Harness {
    let harness = Harness::new(|config| config.environment = environment(programs)).await;
    harness.replace("server.js", SERVER);
    harness.replace("package.json", PACKAGE);
    harness
}

/// What is installed in the project.
fn check(project: &Path) -> Dependencies {
    check_dependencies(&Directory::open(project).expect("opened"), Path::new("")).expect("a readable project")
}

async fn failed(harness: &mut Harness) -> String {
    let failed = harness.until(|event| match event {
        DevServerEvent::InstallFailed { detail, .. } => Some(detail),
        _ => None,
    });
    failed.await
}

fn tree_of(harness: &Harness) -> String {
    std::fs::read_to_string(harness.path("node_modules/a/package.json")).expect("a tree")
}

#[tokio::test]
async fn equal_key_installs_nothing() {
    let programs = programs(&[("npm", WORKS)]);
    let mut first = harness(&programs).await;
    first.replace("package-lock.json", "{}");
    first.server.files_ready();
    first.ready().await;
    let installs = calls(&programs);
    assert_eq!(installs.len(), 1);
    assert!(installs[0].starts_with("ci "), "{installs:?}");
    assert!(first.path("node_modules").join(KEY_FILE).exists());
    assert!(matches!(check(first.project()), Dependencies::Installed));

    // Changed and changed back: checked, and nothing is installed. The restart for .env shows when that is done.
    first.edit("package.json", OTHER);
    first.edit("package.json", PACKAGE);
    first.edit(".env", "A=1");
    first.ready().await;
    assert_eq!((calls(&programs).len(), first.server.status().restarts), (1, 1));
    first.stop().await;
}

#[tokio::test]
async fn edits_close_together_are_one_install() {
    let programs = programs(&[("npm", &format!("echo fetching; {WORKS}"))]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    harness.ready().await;
    harness.edit("package-lock.json", "{}");
    harness.edit("package.json", PACKAGE);
    harness.edit("package.json", OTHER);
    let progress = harness.until(|event| match event {
        DevServerEvent::InstallProgress { line } => Some(line),
        _ => None,
    });
    assert_eq!(progress.await, "fetching");
    harness.ready().await;
    assert_eq!(tree_of(&harness), OTHER);
    let calls = calls(&programs);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].starts_with("install ") && calls[0].contains("--no-save"), "{calls:?}");
    harness.stop().await;
}

#[tokio::test]
async fn edit_during_an_install_is_installed() {
    let programs = programs(&[("npm", &format!("{WORKS}; sleep 0.5"))]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    harness.status_until(|status| status.installing).await;
    let started = Instant::now();
    while calls(&programs).is_empty() {
        assert!(started.elapsed() < crate::harness::DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    harness.edit("package.json", OTHER);
    harness.ready().await;
    assert_eq!(tree_of(&harness), OTHER);
    harness.stop().await;
}

#[tokio::test]
async fn failed_install_keeps_the_old_tree_and_the_dev_server() {
    let script = format!(
        "if grep -q '\"a\": \"2\"' package.json; then rm -rf node_modules; echo 'npm error code E404' >&2; exit 1; fi; {WORKS}"
    );
    let programs = programs(&[("npm", &script)]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    harness.ready().await;
    let pid = harness.server.status().pid;
    harness.edit("package.json", OTHER);
    let reason = failed(&mut harness).await;
    assert!(reason.contains("E404"), "{reason}");
    let status = harness.status_until(|status| !status.installing).await;
    assert_eq!(
        (status.state, status.pid, status.reason),
        (DevServerState::Serving, pid, Some(FaultReason::InstallFailed))
    );
    assert_eq!(tree_of(&harness), PACKAGE);
    harness.edit("package.json", PACKAGE);
    harness.status_until(|status| status.reason.is_none()).await;
    assert_eq!(harness.server.status().pid, pid, "the tree has the right key again");
    harness.stop().await;
}

/// The same for a project that is installed in place: the old tree is moved away and put back.
#[tokio::test]
async fn failed_install_in_place_puts_the_old_tree_back() {
    let script =
        format!("test ! -e node_modules || exit 9; {WORKS}; if grep -q '\"a\": \"2\"' package.json; then exit 1; fi");
    let programs = programs(&[("npm", &script)]);
    let mut harness = harness(&programs).await;
    let with_script = |package: &str| package.replace("\"dev\"", "\"postinstall\": \"true\", \"dev\"");
    harness.replace("package.json", &with_script(PACKAGE));
    harness.server.files_ready();
    harness.ready().await;
    harness.edit("package.json", &with_script(OTHER));
    failed(&mut harness).await;
    assert_eq!(tree_of(&harness), with_script(PACKAGE));
    harness.stop().await;
}

#[tokio::test]
async fn failed_first_install_leaves_no_partial_tree() {
    let programs = programs(&[("npm", &format!("{WORKS}; echo 'npm error code E404'; exit 1"))]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    let gave_up = harness.until(|event| match event {
        DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
        _ => None,
    });
    let (reason, detail) = gave_up.await;
    assert_eq!(reason, FaultReason::InstallFailed);
    assert!(detail.contains("E404"), "{detail}");
    assert!(!harness.path("node_modules").exists());
    assert_eq!(harness.server.status().state, DevServerState::GaveUp);
    harness.stop().await;
}

#[tokio::test]
async fn lock_file_that_does_not_match_is_ignored() {
    let script = format!(
        "if [ $1 = ci ]; then echo 'npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync'; exit 1; fi; {WORKS}"
    );
    let programs = programs(&[("npm", &script)]);
    let mut harness = harness(&programs).await;
    harness.replace("package-lock.json", "{}");
    harness.server.files_ready();
    harness.ready().await;
    let calls = calls(&programs);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].starts_with("ci ") && calls[1].starts_with("install ") && calls[1].contains("--no-save"));
    harness.stop().await;
}

#[tokio::test]
async fn each_manager_installs_what_its_lock_file_names() {
    for (lock, manager, call) in [
        ("pnpm-lock.yaml", "pnpm", "install --frozen-lockfile"),
        ("yarn.lock", "yarn", "install --frozen-lockfile"),
        ("bun.lock", "bun", "install --frozen-lockfile"),
    ] {
        let programs = programs(&[(manager, WORKS)]);
        let mut harness = harness(&programs).await;
        harness.replace(lock, "");
        harness.server.files_ready();
        let named = harness.until(|event| match event {
            DevServerEvent::InstallStarted { manager } => Some(manager),
            _ => None,
        });
        assert_eq!(named.await, manager);
        harness.ready().await;
        let calls = calls(&programs);
        assert!(calls.len() == 1 && calls[0].starts_with(call), "{calls:?}");
        harness.stop().await;
    }
}

#[tokio::test]
async fn missing_manager_is_named() {
    let programs = programs(&[]);
    // A PATH with node only: the machine may have any of the managers.
    let node = environment(&programs).find("node").expect("node");
    std::os::unix::fs::symlink(node, programs.path().join("node")).expect("linked");
    let mut environment = environment(&programs);
    environment.set("PATH", programs.path());
    let mut harness = Harness::new(|config| config.environment = environment).await;
    harness.replace("package.json", PACKAGE);
    harness.replace("bun.lock", "");
    harness.server.files_ready();
    assert_eq!(failed(&mut harness).await, "bun is not installed (bun.lock asks for it); install bun");
    harness.stop().await;
}

#[tokio::test]
async fn install_is_stopped_at_its_deadline() {
    let programs = programs(&[("npm", "echo $$ > pid; trap '' TERM; sleep 600")]);
    let mut harness = Harness::new(|config| {
        config.environment = environment(&programs);
        config.limits.install_deadline = Duration::from_millis(500);
        config.limits.restarts = 0;
    })
    .await;
    harness.replace("package.json", PACKAGE);
    harness.server.files_ready();
    let reason = failed(&mut harness).await;
    assert!(reason.starts_with("npm took longer than"), "{reason}");
    let pid = std::fs::read_to_string(harness.path("pid")).expect("a pid");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    harness.stop().await;
}

#[tokio::test]
async fn stop_ends_an_install() {
    let programs = programs(&[("npm", "echo $$ > pid; sleep 600")]);
    let harness = harness(&programs).await;
    harness.server.files_ready();
    let started = Instant::now();
    let pid = loop {
        match std::fs::read_to_string(harness.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ => assert!(started.elapsed() < crate::harness::DEADLINE),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (_, _dir) = harness.stop().await;
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// A project, and the tree with its key in `prepared`.
async fn harness_with_prepared(programs: &TempDir, prepared: &Path) -> (Harness, PathBuf) {
    let harness = Harness::new(|config| {
        config.environment = environment(programs);
        config.prepared_dir = Some(prepared.to_owned());
    })
    .await;
    harness.replace("server.js", SERVER);
    harness.replace("package.json", PACKAGE);
    let Dependencies::Missing(job) = check(harness.project()) else { panic!("nothing to install") };
    let tree = prepared.join(job.key()).join("node_modules");
    std::fs::create_dir_all(tree.join("a")).expect("made");
    std::fs::write(tree.join("a/package.json"), "prepared").expect("written");
    (harness, tree)
}

#[tokio::test]
async fn prepared_tree_is_moved() {
    let programs = programs(&[("npm", "exit 1")]);
    let prepared = tempfile::tempdir().expect("a directory");
    let (mut harness, tree) = harness_with_prepared(&programs, prepared.path()).await;
    harness.server.files_ready();
    let done = harness.until(|event| match event {
        DevServerEvent::InstallDone { prepared, .. } => Some(prepared),
        _ => None,
    });
    assert!(done.await);
    harness.ready().await;
    assert_eq!(tree_of(&harness), "prepared");
    assert!(!tree.exists() && calls(&programs).is_empty());
    harness.stop().await;
}

#[tokio::test]
async fn prepared_tree_that_cannot_be_moved_is_copied() {
    let programs = programs(&[("npm", "exit 1")]);
    // Another file system, as an image's layers are.
    let prepared = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let (mut harness, tree) = harness_with_prepared(&programs, prepared.path()).await;
    harness.server.files_ready();
    harness.ready().await;
    assert_eq!(tree_of(&harness), "prepared");
    assert!(tree.is_dir() && calls(&programs).is_empty());
    harness.stop().await;
}

const BERRY_LOCK: &str = "# made by yarn\n\n__metadata:\n  version: 8\n";
const BERRY: &str =
    "if [ \"$2\" = --immutable ]; then echo '➤ YN0028: │ The lockfile would have been modified'; exit 1; fi
    echo rewritten > yarn.lock; mkdir -p node_modules/a && cp package.json node_modules/a/";

#[tokio::test]
async fn yarn_berry_never_writes_the_project_s_lock_file() {
    let programs = programs(&[("yarn", BERRY)]);
    let mut copied = harness(&programs).await;
    copied.replace("yarn.lock", BERRY_LOCK);
    copied.server.files_ready();
    copied.ready().await;
    assert_eq!(std::fs::read_to_string(copied.path("yarn.lock")).expect("a lock file"), BERRY_LOCK);
    assert_eq!(tree_of(&copied), PACKAGE);
    copied.stop().await;

    // In place it would write the project's lock file: npm installs by package.json.
    let programs = self::programs(&[("yarn", BERRY), ("npm", WORKS)]);
    let mut in_place = harness(&programs).await;
    in_place.replace("yarn.lock", BERRY_LOCK);
    let package = PACKAGE.replace("\"dev\"", "\"postinstall\": \"true\", \"dev\"");
    in_place.replace("package.json", &package);
    in_place.server.files_ready();
    in_place.ready().await;
    assert_eq!(std::fs::read_to_string(in_place.path("yarn.lock")).expect("a lock file"), BERRY_LOCK);
    assert_eq!(tree_of(&in_place), package);
    in_place.stop().await;
}

/// The calls until the dev server answers, of managers with these scripts, in a project with these files.
async fn calls_until_ready(scripts: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<String> {
    let programs = programs(scripts);
    let mut harness = harness(&programs).await;
    for (name, content) in files {
        harness.replace(name, content);
    }
    harness.server.files_ready();
    harness.ready().await;
    let calls = calls(&programs);
    harness.stop().await;
    calls
}

#[tokio::test]
async fn manager_that_is_missing_or_fails_is_followed_by_the_next_one() {
    let broken = "echo 'error: lockfile had changes, but lockfile is frozen'; exit 1";
    let locks = [("bun.lock", ""), ("bun.lockb", ""), ("package-lock.json", "{}")];
    let calls = calls_until_ready(&[("bun", broken), ("npm", WORKS)], &locks).await;
    let expected = ["install --frozen-lockfile", "install --no-save", "install --no-save", "ci "];
    assert_eq!(calls.len(), expected.len(), "{calls:?}");
    assert!(calls.iter().zip(expected).all(|(call, start)| call.starts_with(start)), "{calls:?}");

    let field = PACKAGE.replace("\"scripts\"", "\"packageManager\": \"bun@1.0.0\", \"scripts\"");
    let without = "echo 'npm error code ENOTFOUND'; exit 1";
    let script = format!("if [ $1 = ci ]; then {without}; fi; {WORKS}");
    let calls = calls_until_ready(&[("npm", &script)], &[("package.json", &field), ("package-lock.json", "{}")]).await;
    assert!(calls.len() == 2 && calls[0].starts_with("ci ") && calls[1].contains("--no-package-lock"), "{calls:?}");
}

#[tokio::test]
async fn version_conflict_of_peers_is_installed_without_the_check() {
    let script =
        format!("case \"$*\" in *--legacy-peer-deps*) {WORKS} ;; *) echo 'npm error code ERESOLVE'; exit 1 ;; esac");
    let calls = calls_until_ready(&[("npm", &script)], &[]).await;
    assert!(calls.len() == 2 && calls[1].contains("--legacy-peer-deps"), "{calls:?}");
}

/// npm leaves a file in the tree by which it is recognized.
#[tokio::test]
async fn new_dependency_is_installed_into_a_copy_of_the_old_tree() {
    let script = format!("{WORKS}; echo {{}} > node_modules/.package-lock.json; touch node_modules/a/$$");
    let programs = programs(&[("npm", &script)]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    harness.ready().await;
    std::fs::create_dir_all(harness.path("node_modules/.vite/deps")).expect("made");
    harness.edit("package.json", OTHER);
    harness.ready().await;
    let kept = std::fs::read_dir(harness.path("node_modules/a")).expect("a package").count();
    assert_eq!(kept, 3, "package.json and a file of each install");
    assert!(!harness.path("node_modules/.vite").exists(), "the cache of the old packages");
    harness.stop().await;
}

#[tokio::test]
async fn final_failure_is_tried_once() {
    let programs = programs(&[("npm", "echo 'npm error code ETARGET'; exit 1"), ("bun", WORKS)]);
    let mut harness = harness(&programs).await;
    harness.server.files_ready();
    let detail = harness.until(|event| match event {
        DevServerEvent::GaveUp { detail, .. } => Some(detail),
        _ => None,
    });
    assert!(detail.await.contains("ETARGET"));
    assert_eq!(calls(&programs).len(), 1);
    harness.stop().await;
}
