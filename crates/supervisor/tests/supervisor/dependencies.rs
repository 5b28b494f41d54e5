//! Installs, with a package manager that does what a test wants: a shell script under its name.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::rig::Rig;
use supervisor::dependencies::{KEY_FILE, Need, look};
use supervisor::dev_server::{DevServerEvent, Reason, StateName};
use supervisor::process::Environment;
use tempfile::TempDir;

const SERVER: &str =
    "require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT, '127.0.0.1');";
const PACKAGE: &str = r#"{"dependencies": {"a": "1"}, "scripts": {"dev": "x"}}"#;
const OTHER: &str = r#"{"dependencies": {"a": "2"}, "scripts": {"dev": "x"}}"#;
/// Makes a tree that says which package.json it is of.
const WORKS: &str = "mkdir -p node_modules/a && cp package.json node_modules/a/";

/// A directory of programs that stands before the real PATH.
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

async fn rig(programs: &TempDir) -> Rig {
    let rig = Rig::new(|config| config.environment = environment(programs)).await;
    rig.replace("server.js", SERVER);
    rig.replace("package.json", PACKAGE);
    rig
}

async fn failed(rig: &mut Rig) -> String {
    let failed = rig.until(|event| match event {
        DevServerEvent::InstallFailed { reason, .. } => Some(reason),
        _ => None,
    });
    failed.await
}

fn tree_of(rig: &Rig) -> String {
    std::fs::read_to_string(rig.path("node_modules/a/package.json")).expect("a tree")
}

#[tokio::test]
async fn the_same_key_installs_nothing_again() {
    let programs = programs(&[("npm", WORKS)]);
    let mut first = rig(&programs).await;
    first.replace("package-lock.json", "{}");
    first.server.files_ready();
    first.ready().await;
    let installs = calls(&programs);
    assert_eq!(installs.len(), 1);
    assert!(installs[0].starts_with("ci "), "{installs:?}");
    assert!(first.path("node_modules").join(KEY_FILE).exists());
    assert!(matches!(look(first.project(), first.project()), Ok(Need::Nothing)));

    // Written again as it was: looked at, and left alone. The .env shows when that is done.
    first.edit("package.json", OTHER);
    first.edit("package.json", PACKAGE);
    first.edit(".env", "A=1");
    first.ready().await;
    assert_eq!((calls(&programs).len(), first.server.status().restarts), (1, 1));
    first.stop().await;
}

#[tokio::test]
async fn several_edits_within_a_moment_are_one_install() {
    let programs = programs(&[("npm", &format!("echo fetching; {WORKS}"))]);
    let mut rig = rig(&programs).await;
    rig.server.files_ready();
    rig.ready().await;
    rig.edit("package-lock.json", "{}");
    rig.edit("package.json", PACKAGE);
    rig.edit("package.json", OTHER);
    let progress = rig.until(|event| match event {
        DevServerEvent::InstallProgress { line } => Some(line),
        _ => None,
    });
    assert_eq!(progress.await, "fetching");
    rig.ready().await;
    assert_eq!(tree_of(&rig), OTHER);
    let calls = calls(&programs);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].starts_with("install ") && calls[0].contains("--no-save"), "{calls:?}");
    rig.stop().await;
}

#[tokio::test]
async fn an_edit_while_installing_is_not_lost() {
    let programs = programs(&[("npm", &format!("{WORKS}; sleep 0.5"))]);
    let mut rig = rig(&programs).await;
    rig.server.files_ready();
    rig.status_until(|status| status.installing).await;
    let started = Instant::now();
    while calls(&programs).is_empty() {
        assert!(started.elapsed() < crate::rig::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.edit("package.json", OTHER);
    rig.ready().await;
    assert_eq!(tree_of(&rig), OTHER);
    rig.stop().await;
}

#[tokio::test]
async fn a_failed_install_keeps_the_old_tree_and_the_dev_server() {
    let script = format!(
        "if grep -q '\"a\": \"2\"' package.json; then rm -rf node_modules; echo 'npm error code E404' >&2; exit 1; fi; {WORKS}"
    );
    let programs = programs(&[("npm", &script)]);
    let mut rig = rig(&programs).await;
    rig.server.files_ready();
    rig.ready().await;
    let pid = rig.server.status().pid;
    rig.edit("package.json", OTHER);
    let reason = failed(&mut rig).await;
    assert!(reason.contains("E404"), "{reason}");
    let status = rig.status_until(|status| !status.installing).await;
    assert_eq!((status.state, status.pid, status.reason), (StateName::Serving, pid, Some(Reason::InstallFailed)));
    assert_eq!(tree_of(&rig), PACKAGE);
    rig.edit("package.json", PACKAGE);
    rig.status_until(|status| status.reason.is_none()).await;
    assert_eq!(rig.server.status().pid, pid, "the tree fits again");
    rig.stop().await;
}

/// The same for a project that cannot be staged: here the old tree is set aside and put back.
#[tokio::test]
async fn in_place_the_old_tree_comes_back() {
    let script =
        format!("test ! -e node_modules || exit 9; {WORKS}; if grep -q '\"a\": \"2\"' package.json; then exit 1; fi");
    let programs = programs(&[("npm", &script)]);
    let mut rig = rig(&programs).await;
    let with_script = |package: &str| package.replace("\"dev\"", "\"postinstall\": \"true\", \"dev\"");
    rig.replace("package.json", &with_script(PACKAGE));
    rig.server.files_ready();
    rig.ready().await;
    rig.edit("package.json", &with_script(OTHER));
    failed(&mut rig).await;
    assert_eq!(tree_of(&rig), with_script(PACKAGE));
    rig.stop().await;
}

#[tokio::test]
async fn a_failed_first_install_leaves_no_half_tree() {
    let programs = programs(&[("npm", &format!("{WORKS}; echo 'npm error code E404'; exit 1"))]);
    let mut rig = rig(&programs).await;
    rig.server.files_ready();
    let gave_up = rig.until(|event| match event {
        DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
        _ => None,
    });
    let (reason, detail) = gave_up.await;
    assert_eq!(reason, Reason::InstallFailed);
    assert!(detail.contains("E404"), "{detail}");
    assert!(!rig.path("node_modules").exists());
    assert_eq!(rig.server.status().state, StateName::GaveUp);
    rig.stop().await;
}

#[tokio::test]
async fn a_lock_that_does_not_match_is_installed_by_package_json() {
    let script = format!(
        "if [ $1 = ci ]; then echo 'npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync'; exit 1; fi; {WORKS}"
    );
    let programs = programs(&[("npm", &script)]);
    let mut rig = rig(&programs).await;
    rig.replace("package-lock.json", "{}");
    rig.server.files_ready();
    rig.ready().await;
    let calls = calls(&programs);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].starts_with("ci ") && calls[1].starts_with("install ") && calls[1].contains("--no-save"));
    rig.stop().await;
}

#[tokio::test]
async fn each_manager_is_called_frozen_to_its_lock() {
    for (lock, manager, call) in [
        ("pnpm-lock.yaml", "pnpm", "install --frozen-lockfile"),
        ("yarn.lock", "yarn", "install --frozen-lockfile"),
        ("bun.lock", "bun", "install --frozen-lockfile"),
    ] {
        let programs = programs(&[(manager, WORKS)]);
        let mut rig = rig(&programs).await;
        rig.replace(lock, "");
        rig.server.files_ready();
        let named = rig.until(|event| match event {
            DevServerEvent::InstallStarted { manager } => Some(manager),
            _ => None,
        });
        assert_eq!(named.await, manager);
        rig.ready().await;
        let calls = calls(&programs);
        assert!(calls.len() == 1 && calls[0].starts_with(call), "{calls:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_named() {
    let programs = programs(&[]);
    // Nothing but node: the machine may have any of the managers.
    let node = environment(&programs).find("node").expect("node");
    std::os::unix::fs::symlink(node, programs.path().join("node")).expect("linked");
    let mut environment = environment(&programs);
    environment.set("PATH", programs.path());
    let mut rig = Rig::new(|config| config.environment = environment).await;
    rig.replace("package.json", PACKAGE);
    rig.replace("bun.lock", "");
    rig.server.files_ready();
    assert_eq!(failed(&mut rig).await, "bun.lock asks for bun, which is not installed here");
    rig.stop().await;
}

#[tokio::test]
async fn an_install_that_does_not_end_is_ended() {
    let programs = programs(&[("npm", "echo $$ > pid; trap '' TERM; sleep 600")]);
    let mut rig = Rig::new(|config| {
        config.environment = environment(&programs);
        config.limits.install_deadline = Duration::from_millis(500);
        config.limits.restarts = 0;
    })
    .await;
    rig.replace("package.json", PACKAGE);
    rig.server.files_ready();
    let reason = failed(&mut rig).await;
    assert!(reason.starts_with("npm took longer than"), "{reason}");
    let pid = std::fs::read_to_string(rig.path("pid")).expect("a pid");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    rig.stop().await;
}

#[tokio::test]
async fn a_stop_ends_an_install() {
    let programs = programs(&[("npm", "echo $$ > pid; sleep 600")]);
    let rig = rig(&programs).await;
    rig.server.files_ready();
    let started = Instant::now();
    let pid = loop {
        match std::fs::read_to_string(rig.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ => assert!(started.elapsed() < crate::rig::PATIENCE),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (_, _dir) = rig.stop().await;
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// A project, and in `prepared` the tree that fits it.
async fn rig_with_prepared(programs: &TempDir, prepared: &Path) -> (Rig, PathBuf) {
    let rig = Rig::new(|config| {
        config.environment = environment(programs);
        config.prepared_dir = Some(prepared.to_owned());
    })
    .await;
    rig.replace("server.js", SERVER);
    rig.replace("package.json", PACKAGE);
    let Ok(Need::Install(job)) = look(rig.project(), rig.project()) else { panic!("nothing to install") };
    let tree = prepared.join(job.key()).join("node_modules");
    std::fs::create_dir_all(tree.join("a")).expect("made");
    std::fs::write(tree.join("a/package.json"), "prepared").expect("written");
    (rig, tree)
}

#[tokio::test]
async fn a_prepared_tree_is_taken_by_rename() {
    let programs = programs(&[("npm", "exit 1")]);
    let prepared = tempfile::tempdir().expect("a directory");
    let (mut rig, tree) = rig_with_prepared(&programs, prepared.path()).await;
    rig.server.files_ready();
    let done = rig.until(|event| match event {
        DevServerEvent::InstallDone { prepared, .. } => Some(prepared),
        _ => None,
    });
    assert!(done.await);
    rig.ready().await;
    assert_eq!(tree_of(&rig), "prepared");
    assert!(!tree.exists() && calls(&programs).is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_prepared_tree_that_cannot_be_renamed_is_copied() {
    let programs = programs(&[("npm", "exit 1")]);
    // A file system of its own, as an image's layers are.
    let prepared = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let (mut rig, tree) = rig_with_prepared(&programs, prepared.path()).await;
    rig.server.files_ready();
    rig.ready().await;
    assert_eq!(tree_of(&rig), "prepared");
    assert!(tree.is_dir() && calls(&programs).is_empty());
    rig.stop().await;
}

const BERRY_LOCK: &str = "# made by yarn\n\n__metadata:\n  version: 8\n";
const BERRY: &str =
    "if [ \"$2\" = --immutable ]; then echo '➤ YN0028: │ The lockfile would have been modified'; exit 1; fi
    echo rewritten > yarn.lock; mkdir -p node_modules/a && cp package.json node_modules/a/";

#[tokio::test]
async fn the_newer_yarn_rewrites_a_copy_of_its_lock_or_nothing() {
    let programs = programs(&[("yarn", BERRY)]);
    let mut copied = rig(&programs).await;
    copied.replace("yarn.lock", BERRY_LOCK);
    copied.server.files_ready();
    copied.ready().await;
    assert_eq!(std::fs::read_to_string(copied.path("yarn.lock")).expect("a lock file"), BERRY_LOCK);
    assert_eq!(tree_of(&copied), PACKAGE);
    copied.stop().await;

    let mut in_place = rig(&programs).await;
    in_place.replace("yarn.lock", BERRY_LOCK);
    in_place.replace("package.json", &PACKAGE.replace("\"dev\"", "\"postinstall\": \"true\", \"dev\""));
    in_place.server.files_ready();
    let reason = failed(&mut in_place).await;
    assert!(reason.contains("yarn.lock does not match package.json"), "{reason}");
    assert_eq!(std::fs::read_to_string(in_place.path("yarn.lock")).expect("a lock file"), BERRY_LOCK);
    in_place.stop().await;
}
