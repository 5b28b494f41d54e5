//! The preview port of a running agent: it answers before the dev server does, while that is away, and after it.

use local_backend::{FaultRate, SeedFile, SnapshotFaults};

use crate::support::preview::{get, head_and_body, send};
use crate::support::world::World;
use crate::support::{Agent, Start, eventually, http_get, port};

/// Answers with the request that it got, as JSON; `/fail` and the file `fails` make it fail.
const SERVER: &str = r#"
const fs = require("fs")
console.log("the server starts")
require("http").createServer((request, response) => {
  if (fs.existsSync("fails")) response.statusCode = 500
  response.setHeader("content-type", "text/html")
  response.end(JSON.stringify({ url: request.url, headers: request.headers, env: process.env }))
}).listen(process.env.PORT, process.env.HOST)
"#;

fn world() -> World {
    let world = World::new();
    world.save("server.js", SERVER);
    world
}

/// An agent with the server above, and its preview's address.
fn start(world: &World) -> (Start, String) {
    let port = port().to_string();
    let mut start = world.start().set("PREVIEW_PORT", &port).set("PREVIEW_USER", "none");
    start.dev_server = ["node", "server.js"].map(str::to_owned).to_vec();
    (start, format!("127.0.0.1:{port}"))
}

fn serving(start: Start) -> Agent {
    let mut agent = start.run();
    agent.wait_for("dev_server_ready");
    eventually("ready", || agent.get("/readyz").0 == 200);
    agent
}

#[test]
fn it_answers_before_there_are_files() {
    let world = world();
    let fault = SnapshotFaults { status: Some(503), chance: FaultRate::ALWAYS, ..SnapshotFaults::default() };
    world.backend().faults().snapshot(fault);
    let (start, preview) = start(&world);
    let mut agent = start.run();
    agent.wait_for("preview_listening");
    agent.wait_for("hydrate_start");
    let page = get(&preview, "/any/path?x=1");
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("Loading the project"), "{page}");
    world.backend().faults().clear();
    agent.wait_for("dev_server_ready");
    eventually("the preview", || get(&preview, "/x").starts_with("HTTP/1.1 200 "));
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn the_page_shows_how_far_the_download_is() {
    let mut noise = sync_core::Rng::new(7);
    let bytes = (0..400_000).map(|_| noise.next_u64() as u8).collect();
    let world = World::with(|options| {
        options.files.push(SeedFile { path: "noise.bin".into(), bytes });
        options.files.push(SeedFile { path: "server.js".into(), bytes: SERVER.into() });
    });
    let fault = SnapshotFaults { stall_at: Some(200_000), chance: FaultRate::ALWAYS, ..SnapshotFaults::default() };
    world.backend().faults().snapshot(fault);
    let (start, preview) = start(&world);
    let mut agent = start.run();
    agent.wait_for("hydrate_start");
    let mut shown = serde_json::Value::Null;
    eventually("the download's progress", || {
        let page = get(&preview, "/");
        let state = page.split_once(r#"id="state">"#).and_then(|(_, rest)| rest.split_once("</script>"));
        let Some((state, _)) = state else { panic!("no waiting page: {page}") };
        shown = serde_json::from_str::<serde_json::Value>(state).unwrap()["progress"].take();
        shown["done"].as_u64() == Some(200_000)
    });
    assert!(shown["total"].as_u64() > Some(400_000) && shown["files"].as_u64().is_some(), "{shown}");
    world.backend().faults().clear();
    agent.wait_for("dev_server_ready");
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn the_dev_server_sees_itself_and_has_no_secret() {
    let world = world();
    let (start, preview) = start(&world);
    let agent = serving(start.set("PREVIEW_ENV_SHOWN", "yes"));
    let answer = get(&preview, "/x?y=1");
    // The document begins with the script that reports what goes wrong in it.
    let body = head_and_body(&answer).1;
    let seen: serde_json::Value = serde_json::from_str(&body[body.find(r#"{"url""#).unwrap()..]).unwrap();
    let own = format!("localhost:{}", seen["env"]["PORT"].as_str().unwrap());
    assert_eq!((&seen["url"], &seen["headers"]["host"]), (&"/x?y=1".into(), &own.into()));
    assert_eq!(seen["headers"]["x-forwarded-host"], *preview);
    assert_eq!((&seen["env"]["HOST"], &seen["env"]["SHOWN"]), (&"127.0.0.1".into(), &"yes".into()));
    drop(agent);
}

#[test]
fn it_is_private_with_a_token_which_is_wiped() {
    let world = world();
    let (start, preview) = start(&world);
    let mut agent = serving(start.set("PREVIEW_ACCESS_TOKEN", "a-secret-of-this-test"));
    assert!(get(&preview, "/").starts_with("HTTP/1.1 401 "));
    let opened = get(&preview, "/x?preview_token=a-secret-of-this-test");
    assert!(opened.starts_with("HTTP/1.1 303 "), "{opened}");
    let cookie = opened.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    let answer = send(&preview, &request);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && !answer.contains(cookie) && !answer.contains("a-secret-of"),
        "{answer}"
    );
    agent.read_on();
    let environment = std::fs::read(format!("/proc/{}/environ", agent.pid())).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("a-secret-of"));
    assert!(!agent.seen.iter().any(|line| line.to_string().contains("a-secret-of")));
    assert!(!agent.status().to_string().contains("a-secret-of"));
}

#[test]
fn only_the_named_hosts_are_answered() {
    let world = world();
    let (start, preview) = start(&world);
    let _agent = serving(start.set("PREVIEW_HOSTS", ".previews.example.com"));
    assert!(get(&preview, "/").starts_with("HTTP/1.1 403 "));
    let named = "GET / HTTP/1.1\r\nHost: m1.previews.example.com\r\nConnection: close\r\n\r\n";
    assert!(send(&preview, named).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_navigation_outlasts_a_restart_of_the_dev_server() {
    let world = world();
    let (start, preview) = start(&world);
    let mut agent = serving(start);
    assert!(get(&preview, "/").starts_with("HTTP/1.1 200 "));
    let pid = agent.status()["dev_server"]["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    eventually("another dev server", || {
        let answer = get(&preview, "/");
        // Where it takes longer than a navigation waits, it gets the page.
        assert!(answer.starts_with("HTTP/1.1 200 ") || answer.contains("/.preview-agent/events"), "{answer}");
        answer.starts_with("HTTP/1.1 200 ") && agent.status()["dev_server"]["restarts"] == 1
    });
}

#[test]
fn a_dev_server_that_fails_at_its_root_is_shown_and_not_ready() {
    let world = world();
    world.save("fails", "");
    let (start, preview) = start(&world);
    let mut agent = start.run();
    agent.wait_for("dev_server_ready");
    eventually("its own answer", || get(&preview, "/").starts_with("HTTP/1.1 500 "));
    assert_eq!(agent.get("/readyz").0, 503);
    world.store().delete("fails", None, "test").unwrap();
    eventually("ready", || agent.get("/readyz").0 == 200);
}

/// An API at once, and a page 5 s later on another port.
const LATE_PAGE: &str = r#"
const serve = (type, text) => require("http").createServer((request, response) => {
  response.setHeader("content-type", type)
  response.end(text)
}).listen(0, "127.0.0.1")
serve("application/json", '{"api":true}')
setTimeout(() => {
  serve("text/html", "the late page")
  require("fs").writeFileSync("page-is-there", "")
}, 5000)
"#;

#[test]
fn a_page_that_appears_long_after_an_api_becomes_the_preview_soon() {
    let world = world();
    world.save("server.js", LATE_PAGE);
    let (start, preview) = start(&world);
    let mut agent = start.run();
    agent.wait_for("preview_listening");
    eventually("the API", || get(&preview, "/").contains(r#"{"api":true}"#));
    eventually("the page listens", || agent.project().join("page-is-there").exists());
    let listens = std::time::Instant::now();
    eventually("the page", || get(&preview, "/").contains("the late page"));
    let took = listens.elapsed();
    println!("the page became the preview {took:?} after it listened");
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_failure_is_shown_with_its_reason() {
    let world = world();
    world.save("server.js", "console.error('what went wrong'); process.exit(3)");
    let (start, preview) = start(&world);
    let mut agent = start.run();
    agent.wait_for("dev_server_exit");
    eventually("the reason", || {
        let page = get(&preview, "/");
        page.starts_with("HTTP/1.1 503 ") && page.contains("crashed: look at") && page.contains("what went wrong")
    });
    let request = "GET /x.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = send(&preview, request);
    let body: serde_json::Value = serde_json::from_str(head_and_body(&answer).1).unwrap();
    assert_eq!((&body["code"], &body["reasons"]), (&"preview_not_ready".into(), &serde_json::json!(["crashed"])));
    world.save("server.js", SERVER);
    eventually("the repaired preview", || get(&preview, "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn other_ports_of_the_agent_cannot_be_reached_through_it() {
    let world = world();
    let (start, preview) = start(&world);
    let mut agent = serving(start);
    agent.get("/healthz");
    let status = agent.seen.iter().find(|event| event["event_type"] == "status_listening").unwrap()["addr"].clone();
    let status = status.as_str().unwrap();
    let request = format!("GET http://{status}/status HTTP/1.1\r\nHost: {status}\r\nConnection: close\r\n\r\n");
    let answer = send(&preview, &request);
    let seen: serde_json::Value = serde_json::from_str(head_and_body(&answer).1).unwrap();
    assert_eq!(seen["url"], "/status", "the dev server has answered");
    assert!(
        send(&preview, &format!("CONNECT {status} HTTP/1.1\r\nHost: {status}\r\nConnection: close\r\n\r\n"))
            .starts_with("HTTP/1.1 405 ")
    );
}

#[test]
fn files_are_applied_under_ten_thousand_connections() {
    // This side of the connections needs as many descriptors.
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let world = world();
    let (start, preview) = start(&world);
    let mut agent = serving(start);
    let mut silent = Vec::new();
    for number in 0..10_000 {
        if let Ok(stream) =
            std::net::TcpStream::connect_timeout(&preview.parse().unwrap(), std::time::Duration::from_secs(1))
        {
            silent.push(stream);
        }
        if number % 1_000 == 0 {
            world.save("src/App.tsx", &format!("export default {number}"));
        }
    }
    println!("{} connections were accepted", silent.len());
    assert!(silent.len() > 9_000, "{} connections", silent.len());
    world.in_sync_but(&agent, &[]);
    assert_eq!(agent.get("/healthz").0, 200);
    drop(silent);
    eventually("the preview", || get(&preview, "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn without_the_proxy_the_dev_server_has_the_port() {
    let world = world();
    let (start, preview) = start(&world);
    let agent = serving(start.set("PREVIEW_PROXY", "off").set("PREVIEW_HOSTS", "app.example.com"));
    let (status, body) = http_get(&preview, "/x");
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &seen["headers"]["host"]), (200, &(*preview).into()));
    assert_eq!(preview.rsplit(':').next(), seen["env"]["PORT"].as_str());
    assert_eq!(seen["env"]["__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS"], "app.example.com");
    assert!(!agent.seen.iter().any(|event| event["event_type"] == "preview_listening"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = world();
    let taken = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let agent = world.start().set("PREVIEW_PORT", &port).run();
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(69));
    assert!(said.contains(&port) && said.contains("PREVIEW_PORT"), "{said}");
}
