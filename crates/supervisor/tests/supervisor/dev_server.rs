//! The supervisor with dev servers that fail in different ways: small Node scripts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Harness, free_port, get, port_is_free};
use supervisor::dev_server::{DevServerEvent, DevServerState, FaultReason};
use supervisor::process::Environment;

/// Answers everything with `ok`.
const GOOD: &str =
    "require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT, '127.0.0.1');";

async fn exited(harness: &mut Harness) -> (Option<i32>, Option<i32>, FaultReason, String) {
    let exited = harness.until(|event| match event {
        DevServerEvent::Exited { code, signal, reason, detail } => Some((code, signal, reason, detail)),
        _ => None,
    });
    exited.await
}

async fn gave_up(harness: &mut Harness) -> (FaultReason, String) {
    let gave_up = harness.until(|event| match event {
        DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
        _ => None,
    });
    gave_up.await
}

fn alive(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}

async fn written(path: PathBuf) -> String {
    let started = Instant::now();
    loop {
        match std::fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(started.elapsed() < DEADLINE, "{} was not written", path.display()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn working_server_gets_ready_and_stops() {
    let mut harness = Harness::new(|_| {}).await;
    harness.replace("server.js", GOOD);
    assert_eq!(harness.server.status().state, DevServerState::Waiting);
    harness.server.files_ready();
    harness.ready().await;
    let status = harness.status_until(|status| status.state == DevServerState::Serving).await;
    assert_eq!((status.restarts, status.reason), (0, None));
    let pid = status.pid.expect("a pid").to_string();
    assert!(get(harness.port, "/").await.ends_with("ok"));
    let server = harness.server.clone();
    let (port, _dir) = harness.stop().await;
    assert_eq!(server.status().state, DevServerState::Stopped);
    assert!(port_is_free(port).await && !alive(&pid));
}

#[tokio::test]
async fn server_on_ipv6_only_gets_ready() {
    let mut harness = Harness::new(|_| {}).await;
    harness.replace("server.js", &GOOD.replace("127.0.0.1", "::1"));
    harness.server.files_ready();
    harness.ready().await;
    harness.stop().await;
}

#[tokio::test]
async fn server_that_exits_is_restarted_until_the_budget_is_spent_and_again_after_an_edit() {
    let mut harness = Harness::new(|_| {}).await;
    harness.replace("server.js", "console.log('bye');");
    harness.server.files_ready();
    let mut delays = Vec::new();
    let (reason, detail) = harness
        .until(|event| match event {
            DevServerEvent::RestartIn { delay, .. } => {
                delays.push(delay);
                None
            }
            DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
            _ => None,
        })
        .await;
    assert_eq!((reason, detail.as_str(), delays.len()), (FaultReason::Exited, "it exited with status 0", 3));
    let status = harness.status_until(|status| status.state == DevServerState::GaveUp).await;
    assert_eq!((status.restarts, status.reason), (3, Some(FaultReason::Exited)));
    let last = status.last_exit.expect("an exit");
    assert_eq!((last.code, last.signal, last.reason), (Some(0), None, FaultReason::Exited));
    assert!(harness.server.logs(100).iter().any(|line| line.line == "bye"));

    harness.edit("server.js", GOOD);
    harness.ready().await;
    let status = harness.status_until(|status| status.state == DevServerState::Serving).await;
    assert_eq!(status.reason, None);
    harness.stop().await;
}

#[tokio::test]
async fn crash_is_reported_with_its_error() {
    let mut harness = Harness::new(|config| config.limits.restarts = 0).await;
    harness.replace("server.js", "throw new TypeError('value is missing');");
    harness.server.files_ready();
    let (code, _, reason, detail) = exited(&mut harness).await;
    assert_eq!((code, reason), (Some(1), FaultReason::Crashed));
    assert!(detail.contains("TypeError: value is missing"), "{detail}");
    harness.stop().await;
}

#[tokio::test]
async fn missing_package_has_its_own_reason() {
    let mut harness = Harness::new(|config| config.limits.restarts = 0).await;
    harness.replace("server.js", "require('no-such-package');");
    harness.server.files_ready();
    let (_, _, reason, detail) = exited(&mut harness).await;
    assert_eq!(reason, FaultReason::DependencyMissing);
    assert!(detail.contains("no-such-package"), "{detail}");
    harness.stop().await;
}

#[tokio::test]
async fn killed_server_is_restarted() {
    let mut harness = Harness::new(|_| {}).await;
    harness.replace("server.js", GOOD);
    harness.server.files_ready();
    harness.ready().await;
    let pid = harness.server.status().pid.expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let (code, signal, reason, _) = exited(&mut harness).await;
    assert_eq!((code, signal, reason), (None, Some(9), FaultReason::Crashed));
    harness.ready().await;
    assert_eq!(harness.server.status().restarts, 1);
    harness.stop().await;
}

const IGNORES_TERM: &str = "process.on('SIGTERM', () => console.log('term ignored')); setInterval(() => {}, 1000);";

#[tokio::test]
async fn server_that_ignores_term_is_killed_after_the_grace_period() {
    let mut harness = Harness::new(|config| config.grace = Duration::from_millis(300)).await;
    harness.replace("server.js", &format!("{IGNORES_TERM}\n{GOOD}"));
    harness.server.files_ready();
    harness.ready().await;
    let pid = harness.server.status().pid.expect("a pid").to_string();
    let server = harness.server.clone();
    let stopping = Instant::now();
    let (port, _dir) = harness.stop().await;
    assert!(stopping.elapsed() >= Duration::from_millis(300), "the grace period was kept");
    assert!(port_is_free(port).await && !alive(&pid));
    assert!(server.logs(10).iter().any(|line| line.line == "term ignored"), "SIGTERM comes first");
}

#[tokio::test]
async fn hurry_ends_the_grace_period() {
    let mut harness = Harness::new(|config| config.grace = DEADLINE * 10).await;
    harness.replace("server.js", &format!("{IGNORES_TERM}\n{GOOD}"));
    harness.server.files_ready();
    harness.ready().await;
    let pid = harness.server.status().pid.expect("a pid").to_string();
    let server = harness.server.clone();
    let stop = harness.stop();
    tokio::pin!(stop);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut stop).await;
    assert!(waits.is_err(), "the stop waits");
    server.hurry();
    stop.await;
    assert!(!alive(&pid));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn process_that_leaves_the_group_is_killed() {
    let mut harness = Harness::new(|config| config.limits.restarts = 1).await;
    harness.replace(
        "server.js",
        "require('child_process').spawn(process.execPath, ['daemon.js'], {detached: true, stdio: 'ignore'}).unref();
         const wait = () => require('fs').existsSync('pid') || setTimeout(wait, 20); wait();",
    );
    let daemon =
        format!("{GOOD}\nrequire('fs').writeFileSync('pid', process.pid + '\\n'); process.on('SIGTERM', () => {{}});");
    harness.replace("daemon.js", &daemon);
    harness.server.files_ready();
    let (code, _, reason, _) = exited(&mut harness).await;
    assert_eq!((code, reason), (Some(0), FaultReason::Exited));
    let pid = written(harness.path("pid")).await;
    assert!(!alive(&pid), "the daemon still runs");
    let (reason, detail) = gave_up(&mut harness).await;
    assert_eq!(reason, FaultReason::Exited, "the port was free again: {detail}");
    let (port, _dir) = harness.stop().await;
    assert!(port_is_free(port).await);
}

#[tokio::test]
async fn megabytes_of_output_are_bounded() {
    let mut harness = Harness::new(|_| {}).await;
    let flood = "const line = 'x'.repeat(100000) + '\\n'; for (let i = 0; i < 200; i++) process.stdout.write(line);
                 process.stderr.write('y\\n'.repeat(1000000));";
    harness.replace("server.js", &format!("{GOOD}\n{flood}\nsetInterval(() => console.log('still here'), 100);"));
    harness.server.files_ready();
    harness.ready().await;
    let dropped = harness.until(|event| match event {
        DevServerEvent::Output { line, .. } if line.ends_with(" lines dropped") => Some(line),
        _ => None,
    });
    println!("{}", dropped.await);
    let alive = harness
        .until(|event| matches!(event, DevServerEvent::Output { line, .. } if line == "still here").then_some(()));
    alive.await;
    let kept: usize = harness.server.logs(usize::MAX).iter().map(|line| line.line.len()).sum();
    assert!(kept <= 1 << 20, "{kept} bytes are kept");
    harness.stop().await;
}

#[tokio::test]
async fn another_port_in_the_output_is_reported() {
    let mut harness = Harness::new(|config| {
        config.limits.start_grace = Duration::from_secs(1);
        config.limits.restarts = 0;
    })
    .await;
    let other = free_port().await;
    let script = GOOD.replace("process.env.PORT", &other.to_string());
    harness.replace("server.js", &format!("{script}\nconsole.log('Local: http://localhost:{other}/');"));
    harness.server.files_ready();
    let (reason, detail) = gave_up(&mut harness).await;
    assert_eq!(reason, FaultReason::Hung);
    assert!(detail.contains(&format!("port {}", harness.port)) && detail.contains(&other.to_string()), "{detail}");
    harness.stop().await;
    assert!(port_is_free(other).await);
}

#[tokio::test]
async fn port_in_use_is_reported_and_tried_again() {
    let mut harness = Harness::new(|_| {}).await;
    harness.replace("server.js", GOOD);
    let other_program = tokio::net::TcpListener::bind(("127.0.0.1", harness.port)).await.expect("bound");
    harness.server.files_ready();
    let failed = harness.until(|event| match event {
        DevServerEvent::StartFailed { reason, detail } => Some((reason, detail)),
        DevServerEvent::Ready { .. } => panic!("another program's answer was accepted"),
        _ => None,
    });
    let (reason, detail) = failed.await;
    assert_eq!(reason, FaultReason::PortInUse);
    assert!(detail.contains(&harness.port.to_string()), "{detail}");
    drop(other_program);
    harness.ready().await;
    harness.stop().await;
}

#[tokio::test]
async fn server_that_hangs_is_restarted() {
    let mut harness = Harness::new(|config| {
        config.limits.probe_interval = Duration::from_millis(50);
        config.limits.probe_timeout = Duration::from_millis(200);
    })
    .await;
    // The first one stops to answer; the second finds the file and goes on.
    harness.replace(
        "server.js",
        &format!(
            "const fs = require('fs'); const first = !fs.existsSync('second'); fs.writeFileSync('second', '');\n{GOOD}
                  if (first) setTimeout(() => {{ for (;;) {{}} }}, 200);"
        ),
    );
    harness.server.files_ready();
    harness.ready().await;
    let (_, _, reason, detail) = exited(&mut harness).await;
    assert_eq!((reason, detail.as_str()), (FaultReason::Hung, "3 probes in a row had no HTTP answer"));
    harness.ready().await;
    harness.stop().await;
}

#[tokio::test]
async fn environment_holds_only_what_was_picked() {
    let variables = [
        ("PATH", std::env::var("PATH").expect("a PATH")),
        ("REALTIME_TOKEN", "a-secret".into()),
        ("SNAPSHOT_URL", "http://a-secret".into()),
        ("PREVIEW_ENV_VITE_TITLE", "A title".into()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let harness = Harness::new(|config| config.environment = Environment::pick(variables)).await;
    harness.replace("server.js", "require('fs').writeFileSync('env', JSON.stringify(process.env) + '\\n');");
    harness.server.files_ready();
    let env: serde_json::Value = serde_json::from_str(&written(harness.path("env")).await).expect("JSON");
    assert_eq!((&env["VITE_TITLE"], &env["PORT"]), (&"A title".into(), &harness.port.to_string().into()));
    assert!(!env.to_string().contains("a-secret") && env.get("HOME").is_none(), "{env}");
    harness.stop().await;
}

#[tokio::test]
async fn dev_script_is_run_by_the_package_manager_and_stops() {
    let mut harness = Harness::new(|config| config.command = None).await;
    harness.replace("server.js", &format!("{GOOD}\nrequire('fs').writeFileSync('pid', process.pid + '\\n');"));
    harness.replace("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    harness.server.files_ready();
    harness.ready().await;
    assert!(harness.server.status().command.expect("a command").ends_with("npm run dev"));
    let pid = written(harness.path("pid")).await;
    assert!(alive(&pid));
    let (port, _dir) = harness.stop().await;
    assert!(!alive(&pid) && port_is_free(port).await);
}

#[tokio::test]
async fn configuration_restarts_a_dev_script_and_sources_do_not() {
    let mut harness = Harness::new(|config| config.command = None).await;
    harness.replace("server.js", GOOD);
    harness.replace("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    harness.server.files_ready();
    harness.ready().await;
    let pid = harness.server.status().pid;
    harness.edit("src.js", "1");
    harness.edit(".env", "A=1");
    harness.edit(".env", "A=2");
    harness.ready().await;
    let status = harness.server.status();
    assert_ne!(status.pid, pid);
    assert_eq!(status.restarts, 1, "edits close together are one restart");

    harness.replace("other.js", GOOD);
    harness.edit("package.json", r#"{"scripts": {"dev": "node other.js"}, "name": "x"}"#);
    harness.edit("package.json", r#"{"scripts": {"dev": "node other.js"}}"#);
    harness.ready().await;
    harness.stop().await;
}

#[tokio::test]
async fn project_without_a_command_gives_up_until_a_file_changes() {
    let mut harness = Harness::new(|config| config.command = None).await;
    harness.server.files_ready();
    let (reason, detail) = gave_up(&mut harness).await;
    assert_eq!(reason, FaultReason::ConfigError);
    assert!(detail.contains("package.json not found"), "{detail}");

    harness.edit("package.json", "{");
    let (reason, detail) = gave_up(&mut harness).await;
    assert_eq!(reason, FaultReason::ConfigError);
    assert!(detail.contains("package.json is not valid JSON"), "{detail}");
    assert_eq!(detail.matches("EOF").count(), 1, "{detail}");

    harness.edit("package.json", "{}");
    let (_, detail) = gave_up(&mut harness).await;
    assert!(detail.contains("neither Vite nor a `dev` or `start` script"), "{detail}");

    harness.replace("server.js", GOOD);
    harness.edit("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    harness.ready().await;

    // A server that runs is not stopped when package.json is broken again.
    let pid = harness.server.status().pid;
    harness.edit("package.json", "{");
    let status = harness.status_until(|status| status.reason == Some(FaultReason::ConfigError)).await;
    assert_eq!((status.state, status.pid), (DevServerState::Serving, pid));
    harness.edit("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    harness.status_until(|status| status.reason.is_none()).await;
    harness.stop().await;
}

#[tokio::test]
async fn stop_before_the_first_start() {
    let harness = Harness::new(|_| {}).await;
    harness.stop().await;
}
