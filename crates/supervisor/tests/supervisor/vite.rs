//! The real Vite with the fixtures: install, start, a configuration that edits break and repair, stop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{Harness, get, port_is_free};
use supervisor::dev_server::{DevServerEvent, DevServerState, FaultReason};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join("fixtures").join(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read").flatten() {
        let (name, kind) = (entry.file_name(), entry.file_type().expect("a kind"));
        if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name)).expect("copied");
        } else if name != "node_modules" {
            copy(&entry.path(), &to.join(name));
        }
    }
}

async fn installs_serves_and_stops(name: &str, module: &str) {
    let mut harness = Harness::new(|config| config.command = None).await;
    copy(&fixture(name), harness.project());
    let lock = std::fs::read(harness.path("package-lock.json")).expect("a lock file");
    let started = Instant::now();
    harness.server.files_ready();
    let install = harness.until(|event| match event {
        DevServerEvent::InstallDone { duration, .. } => Some(duration),
        DevServerEvent::InstallFailed { detail, .. } => panic!("{detail}"),
        _ => None,
    });
    let install = install.await;
    let ready = harness.ready().await;
    println!("{name}: install {install:?}, ready {ready:?} after the start, {:?} in all", started.elapsed());
    assert!(harness.server.status().command.expect("a command").contains("node_modules/vite/bin/vite.js"));
    assert!(get(harness.port, &format!("/{module}")).await.contains("200 OK"));
    assert!(get(harness.port, "/package.json").await.contains("200 OK"));
    assert_eq!(
        std::fs::read(harness.path("package-lock.json")).expect("a lock file"),
        lock,
        "the lock file is not rewritten"
    );

    let pid = harness.server.status().pid.expect("a pid");
    let stopping = Instant::now();
    let (port, project) = harness.stop().await;
    println!("{name}: stopped in {:?}", stopping.elapsed());
    assert!(port_is_free(port).await);
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    drop(project);
}

#[tokio::test]
async fn react_installs_serves_and_stops() {
    installs_serves_and_stops("react-vite", "src/App.jsx").await;
}

#[tokio::test]
async fn vue_installs_serves_and_stops() {
    installs_serves_and_stops("vue-vite", "src/App.vue").await;
}

#[tokio::test]
async fn broken_config_is_reported_until_an_edit_repairs_it() {
    let mut harness = Harness::new(|config| config.command = None).await;
    copy(&fixture("react-vite"), harness.project());
    let good = std::fs::read_to_string(harness.path("vite.config.js")).expect("a config");
    harness.replace("vite.config.js", "export default {{");
    harness.server.files_ready();

    // At the start Vite ends.
    let gave_up = harness.until(|event| match event {
        DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
        _ => None,
    });
    let (reason, detail) = gave_up.await;
    assert_eq!(reason, FaultReason::ConfigError, "{detail}");
    assert!(detail.contains("vite.config.js"), "{detail}");
    assert_eq!(harness.server.status().state, DevServerState::GaveUp);
    harness.edit("vite.config.js", &good);
    harness.ready().await;
    assert_eq!(harness.server.status().reason, None);

    // While Vite runs, it keeps the old configuration and prints an error.
    let pid = harness.server.status().pid;
    harness.edit("vite.config.js", "import x from './nowhere.js'\nexport default {{");
    harness.status_until(|status| status.reason == Some(FaultReason::ConfigError)).await;
    assert!(get(harness.port, "/").await.contains("200 OK"));
    harness.edit_again("vite.config.js", &good).await;
    harness.status_until(|status| status.reason.is_none() && status.state == DevServerState::Serving).await;
    assert_eq!(harness.server.status().pid, pid, "Vite restarts by itself");
    harness.stop().await;
}

#[tokio::test]
async fn new_dependency_in_package_json_is_installed_and_served() {
    let mut harness = Harness::new(|config| config.command = None).await;
    copy(&fixture("react-vite"), harness.project());
    harness.server.files_ready();
    harness.ready().await;
    let lock = std::fs::read(harness.path("package-lock.json")).expect("a lock file");
    let package = std::fs::read_to_string(harness.path("package.json")).expect("a package.json");

    // Only package.json changes: the lock file no longer matches, and is not rewritten.
    harness.edit("package.json", &package.replace("\"react\":", "\"clsx\": \"^2.1.1\",\n    \"react\":"));
    let started = Instant::now();
    harness.ready().await;
    println!("a new dependency: served again after {:?}", started.elapsed());
    assert!(harness.path("node_modules/clsx/package.json").exists());
    assert_eq!(std::fs::read(harness.path("package-lock.json")).expect("a lock file"), lock);

    // A version that does not exist: the old tree and the dev server stay.
    let pid = harness.server.status().pid;
    harness.edit("package.json", &package.replace("\"react\":", "\"clsx\": \"99999.0.0\",\n    \"react\":"));
    let failed = harness.until(|event| match event {
        DevServerEvent::InstallFailed { detail, .. } => Some(detail),
        _ => None,
    });
    let reason = failed.await;
    println!("{reason}");
    assert!(reason.contains("ETARGET") || reason.contains("No matching version"), "{reason}");
    let status = harness.status_until(|status| !status.installing).await;
    assert_eq!((status.pid, status.reason), (pid, Some(FaultReason::InstallFailed)));
    assert!(get(harness.port, "/src/App.jsx").await.contains("200 OK"));
    assert!(harness.path("node_modules/clsx/package.json").exists());

    harness.edit("package.json", &package);
    harness.ready().await;
    assert!(!harness.path("node_modules/clsx").exists());
    assert_eq!(harness.server.status().reason, None);
    tokio::time::timeout(Duration::from_secs(30), harness.stop()).await.expect("stopped");
}
