//! The supervisor against dev servers that behave badly: small Node scripts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::rig::{PATIENCE, Rig, free_port, get, port_is_free};
use supervisor::dev_server::{DevServerEvent, Reason, StateName};
use supervisor::process::Environment;

/// Answers everything with `ok`.
const GOOD: &str =
    "require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT, '127.0.0.1');";

async fn exited(rig: &mut Rig) -> (Option<i32>, Option<i32>, Reason, String) {
    let exited = rig.until(|event| match event {
        DevServerEvent::Exited { code, signal, reason, detail } => Some((code, signal, reason, detail)),
        _ => None,
    });
    exited.await
}

async fn gave_up(rig: &mut Rig) -> (Reason, String) {
    let gave_up = rig.until(|event| match event {
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
            _ => assert!(started.elapsed() < PATIENCE, "{} was not written", path.display()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_that_works_is_ready_and_stops_without_a_trace() {
    let mut rig = Rig::new(|_| {}).await;
    rig.replace("server.js", GOOD);
    assert_eq!(rig.server.status().state, StateName::Waiting);
    rig.server.files_ready();
    rig.ready().await;
    let status = rig.status_until(|status| status.state == StateName::Serving).await;
    assert_eq!((status.restarts, status.reason), (0, None));
    let pid = status.pid.expect("a pid").to_string();
    assert!(get(rig.port, "/").await.ends_with("ok"));
    let server = rig.server.clone();
    let (port, _dir) = rig.stop().await;
    assert_eq!(server.status().state, StateName::Stopped);
    assert!(port_is_free(port).await && !alive(&pid));
}

#[tokio::test]
async fn it_listens_on_ipv6_alone() {
    let mut rig = Rig::new(|_| {}).await;
    rig.replace("server.js", &GOOD.replace("127.0.0.1", "::1"));
    rig.server.files_ready();
    rig.ready().await;
    rig.stop().await;
}

#[tokio::test]
async fn exiting_at_once_spends_the_budget_and_an_edit_tries_again() {
    let mut rig = Rig::new(|_| {}).await;
    rig.replace("server.js", "console.log('bye');");
    rig.server.files_ready();
    let mut delays = Vec::new();
    let (reason, detail) = rig
        .until(|event| match event {
            DevServerEvent::RestartIn { delay, .. } => {
                delays.push(delay);
                None
            }
            DevServerEvent::GaveUp { reason, detail } => Some((reason, detail)),
            _ => None,
        })
        .await;
    assert_eq!((reason, detail.as_str(), delays.len()), (Reason::Exited, "it exited with status 0", 3));
    let status = rig.status_until(|status| status.state == StateName::GaveUp).await;
    assert_eq!((status.restarts, status.reason), (3, Some(Reason::Exited)));
    let last = status.last_exit.expect("an exit");
    assert_eq!((last.code, last.signal, last.reason), (Some(0), None, Reason::Exited));
    assert!(rig.server.logs(100).iter().any(|line| line.line == "bye"));

    rig.edit("server.js", GOOD);
    rig.ready().await;
    let status = rig.status_until(|status| status.state == StateName::Serving).await;
    assert_eq!(status.reason, None);
    rig.stop().await;
}

#[tokio::test]
async fn a_crash_shows_its_error() {
    let mut rig = Rig::new(|config| config.limits.restarts = 0).await;
    rig.replace("server.js", "throw new TypeError('no harbour in sight');");
    rig.server.files_ready();
    let (code, _, reason, detail) = exited(&mut rig).await;
    assert_eq!((code, reason), (Some(1), Reason::Crashed));
    assert!(detail.contains("TypeError: no harbour in sight"), "{detail}");
    rig.stop().await;
}

#[tokio::test]
async fn a_missing_package_is_told_from_a_crash() {
    let mut rig = Rig::new(|config| config.limits.restarts = 0).await;
    rig.replace("server.js", "require('no-such-package');");
    rig.server.files_ready();
    let (_, _, reason, detail) = exited(&mut rig).await;
    assert_eq!(reason, Reason::DependencyMissing);
    assert!(detail.contains("no-such-package"), "{detail}");
    rig.stop().await;
}

#[tokio::test]
async fn killed_from_outside_it_is_started_again() {
    let mut rig = Rig::new(|_| {}).await;
    rig.replace("server.js", GOOD);
    rig.server.files_ready();
    rig.ready().await;
    let pid = rig.server.status().pid.expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let (code, signal, reason, _) = exited(&mut rig).await;
    assert_eq!((code, signal, reason), (None, Some(9), Reason::Crashed));
    rig.ready().await;
    assert_eq!(rig.server.status().restarts, 1);
    rig.stop().await;
}

const STUBBORN: &str = "process.on('SIGTERM', () => console.log('never')); setInterval(() => {}, 1000);";

#[tokio::test]
async fn one_that_ignores_term_is_killed_after_the_grace() {
    let mut rig = Rig::new(|config| config.grace = Duration::from_millis(300)).await;
    rig.replace("server.js", &format!("{STUBBORN}\n{GOOD}"));
    rig.server.files_ready();
    rig.ready().await;
    let pid = rig.server.status().pid.expect("a pid").to_string();
    let server = rig.server.clone();
    let stopping = Instant::now();
    let (port, _dir) = rig.stop().await;
    assert!(stopping.elapsed() >= Duration::from_millis(300), "it had its grace");
    assert!(port_is_free(port).await && !alive(&pid));
    assert!(server.logs(10).iter().any(|line| line.line == "never"), "it was asked first");
}

#[tokio::test]
async fn a_hurry_cuts_the_grace_short() {
    let mut rig = Rig::new(|config| config.grace = PATIENCE * 10).await;
    rig.replace("server.js", &format!("{STUBBORN}\n{GOOD}"));
    rig.server.files_ready();
    rig.ready().await;
    let pid = rig.server.status().pid.expect("a pid").to_string();
    let server = rig.server.clone();
    let stop = rig.stop();
    tokio::pin!(stop);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut stop).await;
    assert!(waits.is_err(), "it waits for the grace");
    server.hurry();
    stop.await;
    assert!(!alive(&pid));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_that_forks_away_is_not_left_behind() {
    let mut rig = Rig::new(|config| config.limits.restarts = 1).await;
    rig.replace(
        "server.js",
        "require('child_process').spawn(process.execPath, ['daemon.js'], {detached: true, stdio: 'ignore'}).unref();
         const wait = () => require('fs').existsSync('pid') || setTimeout(wait, 20); wait();",
    );
    let daemon =
        format!("{GOOD}\nrequire('fs').writeFileSync('pid', process.pid + '\\n'); process.on('SIGTERM', () => {{}});");
    rig.replace("daemon.js", &daemon);
    rig.server.files_ready();
    let (code, _, reason, _) = exited(&mut rig).await;
    assert_eq!((code, reason), (Some(0), Reason::Exited));
    let pid = written(rig.path("pid")).await;
    assert!(!alive(&pid), "the daemon lives");
    let (reason, detail) = gave_up(&mut rig).await;
    assert_eq!(reason, Reason::Exited, "the port was free again: {detail}");
    let (port, _dir) = rig.stop().await;
    assert!(port_is_free(port).await);
}

#[tokio::test]
async fn megabytes_of_output_are_bounded_and_harm_nobody() {
    let mut rig = Rig::new(|_| {}).await;
    let flood = "const line = 'x'.repeat(100000) + '\\n'; for (let i = 0; i < 200; i++) process.stdout.write(line);
                 process.stderr.write('y\\n'.repeat(1000000));";
    rig.replace("server.js", &format!("{GOOD}\n{flood}\nsetInterval(() => console.log('still here'), 100);"));
    rig.server.files_ready();
    rig.ready().await;
    let dropped = rig.until(|event| match event {
        DevServerEvent::Output { line, .. } if line.ends_with(" lines dropped") => Some(line),
        _ => None,
    });
    println!("{}", dropped.await);
    let alive =
        rig.until(|event| matches!(event, DevServerEvent::Output { line, .. } if line == "still here").then_some(()));
    alive.await;
    let kept: usize = rig.server.logs(usize::MAX).iter().map(|line| line.line.len()).sum();
    assert!(kept <= 1 << 20, "{kept} bytes are kept");
    rig.stop().await;
}

#[tokio::test]
async fn another_port_is_found_out() {
    let mut rig = Rig::new(|config| {
        config.limits.start_grace = Duration::from_secs(1);
        config.limits.restarts = 0;
    })
    .await;
    let other = free_port().await;
    let script = GOOD.replace("process.env.PORT", &other.to_string());
    rig.replace("server.js", &format!("{script}\nconsole.log('Local: http://localhost:{other}/');"));
    rig.server.files_ready();
    let (reason, detail) = gave_up(&mut rig).await;
    assert_eq!(reason, Reason::Hung);
    assert!(detail.contains(&format!("port {}", rig.port)) && detail.contains(&other.to_string()), "{detail}");
    rig.stop().await;
    assert!(port_is_free(other).await);
}

#[tokio::test]
async fn a_taken_port_is_said_and_tried_again() {
    let mut rig = Rig::new(|_| {}).await;
    rig.replace("server.js", GOOD);
    let squatter = tokio::net::TcpListener::bind(("127.0.0.1", rig.port)).await.expect("bound");
    rig.server.files_ready();
    let failed = rig.until(|event| match event {
        DevServerEvent::StartFailed { reason, detail } => Some((reason, detail)),
        DevServerEvent::Ready { .. } => panic!("a foreign server is not ours"),
        _ => None,
    });
    let (reason, detail) = failed.await;
    assert_eq!(reason, Reason::PortInUse);
    assert!(detail.contains(&rig.port.to_string()), "{detail}");
    drop(squatter);
    rig.ready().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_hang_means_a_restart() {
    let mut rig = Rig::new(|config| {
        config.limits.probe_interval = Duration::from_millis(50);
        config.limits.probe_timeout = Duration::from_millis(200);
    })
    .await;
    // The first one goes deaf; the second finds the file and does not.
    rig.replace(
        "server.js",
        &format!(
            "const fs = require('fs'); const first = !fs.existsSync('second'); fs.writeFileSync('second', '');\n{GOOD}
                  if (first) setTimeout(() => {{ for (;;) {{}} }}, 200);"
        ),
    );
    rig.server.files_ready();
    rig.ready().await;
    let (_, _, reason, detail) = exited(&mut rig).await;
    assert_eq!((reason, detail.as_str()), (Reason::Hung, "3 probes in a row went without an HTTP answer"));
    rig.ready().await;
    rig.stop().await;
}

#[tokio::test]
async fn the_environment_is_built_up() {
    let variables = [
        ("PATH", std::env::var("PATH").expect("a PATH")),
        ("REALTIME_TOKEN", "a-secret".into()),
        ("SNAPSHOT_URL", "http://a-secret".into()),
        ("PREVIEW_ENV_VITE_TITLE", "Harbour".into()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let rig = Rig::new(|config| config.environment = Environment::pick(variables)).await;
    rig.replace("server.js", "require('fs').writeFileSync('env', JSON.stringify(process.env) + '\\n');");
    rig.server.files_ready();
    let env: serde_json::Value = serde_json::from_str(&written(rig.path("env")).await).expect("JSON");
    assert_eq!((&env["VITE_TITLE"], &env["PORT"]), (&"Harbour".into(), &rig.port.to_string().into()));
    assert!(!env.to_string().contains("a-secret") && env.get("HOME").is_none(), "{env}");
    rig.stop().await;
}

#[tokio::test]
async fn a_dev_script_is_run_by_the_package_manager_and_leaves_nothing() {
    let mut rig = Rig::new(|config| config.command = None).await;
    rig.replace("server.js", &format!("{GOOD}\nrequire('fs').writeFileSync('pid', process.pid + '\\n');"));
    rig.replace("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    rig.server.files_ready();
    rig.ready().await;
    assert!(rig.server.status().command.expect("a command").ends_with("npm run dev"));
    let pid = written(rig.path("pid")).await;
    assert!(alive(&pid));
    let (port, _dir) = rig.stop().await;
    assert!(!alive(&pid) && port_is_free(port).await);
}

#[tokio::test]
async fn its_own_configuration_restarts_a_script_and_sources_do_not() {
    let mut rig = Rig::new(|config| config.command = None).await;
    rig.replace("server.js", GOOD);
    rig.replace("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    rig.server.files_ready();
    rig.ready().await;
    let pid = rig.server.status().pid;
    rig.edit("src.js", "1");
    rig.edit(".env", "A=1");
    rig.edit(".env", "A=2");
    rig.ready().await;
    let status = rig.server.status();
    assert_ne!(status.pid, pid);
    assert_eq!(status.restarts, 1, "two edits within a moment are one");

    rig.replace("other.js", GOOD);
    rig.edit("package.json", r#"{"scripts": {"dev": "node other.js"}, "name": "x"}"#);
    rig.edit("package.json", r#"{"scripts": {"dev": "node other.js"}}"#);
    rig.ready().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_planned_says_why_and_waits_for_the_edit() {
    let mut rig = Rig::new(|config| config.command = None).await;
    rig.server.files_ready();
    let (reason, detail) = gave_up(&mut rig).await;
    assert_eq!(reason, Reason::ConfigError);
    assert!(detail.contains("there is no package.json"), "{detail}");

    rig.edit("package.json", "{");
    let (reason, detail) = gave_up(&mut rig).await;
    assert_eq!(reason, Reason::ConfigError);
    assert!(detail.contains("package.json is broken"), "{detail}");

    rig.edit("package.json", "{}");
    let (_, detail) = gave_up(&mut rig).await;
    assert!(detail.contains("neither Vite nor a `dev` script"), "{detail}");

    rig.replace("server.js", GOOD);
    rig.edit("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    rig.ready().await;

    // Broken again, what runs goes on.
    let pid = rig.server.status().pid;
    rig.edit("package.json", "{");
    let status = rig.status_until(|status| status.reason == Some(Reason::ConfigError)).await;
    assert_eq!((status.state, status.pid), (StateName::Serving, pid));
    rig.edit("package.json", r#"{"scripts": {"dev": "node server.js"}}"#);
    rig.status_until(|status| status.reason.is_none()).await;
    rig.stop().await;
}

#[tokio::test]
async fn stopped_before_it_began() {
    let rig = Rig::new(|_| {}).await;
    rig.stop().await;
}
