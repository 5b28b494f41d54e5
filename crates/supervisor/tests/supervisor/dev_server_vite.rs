//! The real Vite with the fixtures: installed, started, broken and repaired by edits, stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::rig::{Rig, get, port_is_free};
use supervisor::dev_server::{DevServerEvent, Reason, StateName};

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
    let mut rig = Rig::new(|config| config.command = None).await;
    copy(&fixture(name), rig.project());
    let lock = std::fs::read(rig.path("package-lock.json")).expect("a lock file");
    let started = Instant::now();
    rig.server.files_ready();
    let install = rig.until(|event| match event {
        DevServerEvent::InstallDone { duration, .. } => Some(duration),
        DevServerEvent::InstallFailed { reason, .. } => panic!("{reason}"),
        _ => None,
    });
    let install = install.await;
    let ready = rig.ready().await;
    println!("{name}: install {install:?}, ready {ready:?} after the spawn, {:?} in all", started.elapsed());
    assert!(rig.server.status().command.expect("a command").contains("node_modules/vite/bin/vite.js"));
    assert!(get(rig.port, &format!("/{module}")).await.contains("200 OK"));
    assert!(get(rig.port, "/package.json").await.contains("200 OK"));
    assert_eq!(std::fs::read(rig.path("package-lock.json")).expect("a lock file"), lock, "the lock file is owned");

    let pid = rig.server.status().pid.expect("a pid");
    let stopping = Instant::now();
    let (port, project) = rig.stop().await;
    println!("{name}: stopped in {:?}", stopping.elapsed());
    assert!(port_is_free(port).await);
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    drop(project);
}

#[tokio::test]
async fn react() {
    installs_serves_and_stops("react-vite", "src/App.jsx").await;
}

#[tokio::test]
async fn vue() {
    installs_serves_and_stops("vue-vite", "src/App.vue").await;
}

#[tokio::test]
async fn a_broken_config_is_shown_and_repaired_by_an_edit() {
    let mut rig = Rig::new(|config| config.command = None).await;
    copy(&fixture("react-vite"), rig.project());
    let good = std::fs::read_to_string(rig.path("vite.config.js")).expect("a config");
    rig.replace("vite.config.js", "export default {{");
    rig.server.files_ready();

    // From the start: Vite cannot even come up.
    let gave_up = rig.until(|event| match event {
        DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
        _ => None,
    });
    let (reason, detail) = gave_up.await;
    assert_eq!(reason, Reason::ConfigError, "{detail}");
    assert!(detail.contains("vite.config.js"), "{detail}");
    assert_eq!(rig.server.status().state, StateName::GaveUp);
    rig.edit("vite.config.js", &good);
    rig.ready().await;
    assert_eq!(rig.server.status().reason, None);

    // While it runs: Vite goes on with the old one, and says so.
    let pid = rig.server.status().pid;
    rig.edit("vite.config.js", "import x from './nowhere.js'\nexport default {{");
    rig.status_until(|status| status.reason == Some(Reason::ConfigError)).await;
    assert!(get(rig.port, "/").await.contains("200 OK"));
    rig.edit_again("vite.config.js", &good).await;
    rig.status_until(|status| status.reason.is_none() && status.state == StateName::Serving).await;
    assert_eq!(rig.server.status().pid, pid, "Vite restarts by itself");
    rig.stop().await;
}

#[tokio::test]
async fn a_new_dependency_by_edit_is_installed_and_served() {
    let mut rig = Rig::new(|config| config.command = None).await;
    copy(&fixture("react-vite"), rig.project());
    rig.server.files_ready();
    rig.ready().await;
    let lock = std::fs::read(rig.path("package-lock.json")).expect("a lock file");
    let package = std::fs::read_to_string(rig.path("package.json")).expect("a package.json");

    // Only package.json, as an AI would: the lock file no longer matches and is not touched.
    rig.edit("package.json", &package.replace("\"react\":", "\"clsx\": \"^2.1.1\",\n    \"react\":"));
    let started = Instant::now();
    rig.ready().await;
    println!("a new dependency: served again after {:?}", started.elapsed());
    assert!(rig.path("node_modules/clsx/package.json").exists());
    assert_eq!(std::fs::read(rig.path("package-lock.json")).expect("a lock file"), lock);

    // One that does not exist: the old tree and the dev server stay.
    let pid = rig.server.status().pid;
    rig.edit("package.json", &package.replace("\"react\":", "\"clsx\": \"99999.0.0\",\n    \"react\":"));
    let failed = rig.until(|event| match event {
        DevServerEvent::InstallFailed { reason, .. } => Some(reason),
        _ => None,
    });
    let reason = failed.await;
    println!("{reason}");
    assert!(reason.contains("ETARGET") || reason.contains("No matching version"), "{reason}");
    let status = rig.status_until(|status| !status.installing).await;
    assert_eq!((status.pid, status.reason), (pid, Some(Reason::InstallFailed)));
    assert!(get(rig.port, "/src/App.jsx").await.contains("200 OK"));
    assert!(rig.path("node_modules/clsx/package.json").exists());

    rig.edit("package.json", &package);
    rig.ready().await;
    assert!(!rig.path("node_modules/clsx").exists());
    assert_eq!(rig.server.status().reason, None);
    tokio::time::timeout(Duration::from_secs(30), rig.stop()).await.expect("stopped");
}
