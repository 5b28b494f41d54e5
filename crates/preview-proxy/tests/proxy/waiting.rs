//! Before the dev server answers, and while it is away.

use std::time::{Duration, Instant};

use preview_proxy::{AccessToken, FrameAncestors, Hosts, Settings};
use tokio::io::AsyncWriteExt;

use crate::rig::{Rig, answering, exactly, failed, head, installing, ok, rest, serving, short};

#[tokio::test]
async fn a_navigation_gets_the_page_at_once() {
    let rig = Rig::new(short(), installing());
    let started = Instant::now();
    let page = rig.page().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let (head, body) = page.split_once("\r\n\r\n").expect("an answer");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 "));
    for field in ["retry-after: 2", "cache-control: no-store", "content-type: text/html; charset=utf-8"] {
        assert!(head.contains(field), "{field}: {head}");
    }
    assert!(!head.contains("frame-ancestors") && !head.contains("x-frame-options"));
    assert!(body.contains("Installing packages") && body.contains("line 19") && !body.contains("line 20"));
}

#[tokio::test]
async fn a_failure_is_shown_with_its_code_and_advice() {
    let rig = Rig::new(short(), failed());
    let page = rig.page().await;
    for part in ["The preview cannot start", "config_error", "fix the project&#39;s configuration", "vite.config.js:3"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn other_requests_wait_and_then_get_json() {
    let rig = Rig::new(short(), failed());
    let started = Instant::now();
    let answer = rig.get("/main.js", "Accept: */*\r\n").await;
    assert!(started.elapsed() >= short().limits.request_wait);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("application/json"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body, serde_json::json!({"code": "preview_not_ready", "phase": "serving", "reasons": ["config_error"]}));
}

#[tokio::test]
async fn a_request_that_waits_is_answered_as_soon_as_the_preview_is() {
    let (address, _) = answering(ok("hi")).await;
    let mut settings = short();
    settings.limits.request_wait = crate::rig::PATIENCE;
    let rig = Rig::new(settings, installing());
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.view.send_replace(serving(address));
    assert!(rest(&mut stream).await.ends_with("hi"));
}

#[tokio::test]
async fn after_a_restart_a_navigation_waits_for_a_moment() {
    let (address, _) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    assert!(rig.page().await.ends_with("hi"));
    rig.view.send_replace(installing());
    let mut stream = rig.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.view.send_replace(serving(address));
    assert!(rest(&mut stream).await.ends_with("hi"));
    rig.view.send_replace(installing());
    let started = Instant::now();
    assert!(rig.page().await.starts_with("HTTP/1.1 503 "));
    assert!(started.elapsed() >= short().limits.page_wait);
    rig.view.send_replace(failed());
    let started = Instant::now();
    assert!(rig.page().await.starts_with("HTTP/1.1 503 "));
    assert!(started.elapsed() < short().limits.page_wait, "a failure is shown at once");
}

#[tokio::test]
async fn a_dev_server_that_has_just_gone_is_waited_for() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let rig = Rig::before(gone);
    assert!(rig.page().await.starts_with("HTTP/1.1 503 "));
    let answer = rig.get("/x", "").await;
    assert!(answer.contains("preview_not_ready"), "{answer}");
}

#[tokio::test]
async fn events_follow_the_view_and_end_when_the_preview_answers() {
    let (address, _) = answering(ok("hi")).await;
    let rig = Rig::new(short(), installing());
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /.preview-agent/events HTTP/1.0\r\nHost: a\r\n\r\n").await.expect("sent");
    let start = head(&mut stream).await.to_ascii_lowercase();
    assert!(start.contains("text/event-stream") && start.contains("no-store"), "{start}");
    let first = String::from_utf8(exactly(&mut stream, 22).await).expect("text");
    assert_eq!(first, "event: state\ndata: {\"d");
    rig.view.send_replace(failed());
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.view.send_replace(serving(address));
    let events = rest(&mut stream).await;
    assert!(events.contains("\"code\":\"config_error\""), "{events}");
    assert!(events.ends_with("event: ready\ndata: {}\n\n"), "{events}");
}

#[tokio::test]
async fn the_agents_prefix_is_never_passed_on() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    assert!(rig.get("/.preview-agent/other", "").await.starts_with("HTTP/1.1 404 "));
    assert!(
        rig.send("POST /.preview-agent/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405 ")
    );
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn only_named_hosts_are_answered() {
    let (address, _) = answering(ok("hi")).await;
    let settings = Settings { hosts: Hosts::parse(".fly.dev").expect("hosts"), ..short() };
    let rig = Rig::new(settings, serving(address));
    assert!(rig.page().await.starts_with("HTTP/1.1 403 "));
    assert!(rig.get("/.preview-agent/events", "").await.starts_with("HTTP/1.1 403 "));
    let named = "GET / HTTP/1.1\r\nHost: a.fly.dev:443\r\nConnection: close\r\n\r\n";
    assert!(rig.send(named).await.ends_with("hi"));
    let absolute = "GET http://evil.test/ HTTP/1.1\r\nHost: a.fly.dev\r\nConnection: close\r\n\r\n";
    assert!(rig.send(absolute).await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn a_private_preview_is_opened_by_its_token_and_then_by_the_cookie() {
    let (address, mut heads) = answering(ok("hi")).await;
    let settings = Settings { access: Some(AccessToken::new("s3cret")), ..short() };
    let rig = Rig::new(settings, serving(address));
    let page = rig.page().await;
    assert!(page.starts_with("HTTP/1.1 401 ") && page.contains("No access"), "{page}");
    assert!(rig.get("/.preview-agent/events", "").await.starts_with("HTTP/1.1 401 "));
    assert!(rig.get("/?preview_token=wrong", "").await.starts_with("HTTP/1.1 401 "));
    assert!(heads.try_recv().is_err());
    let opened = rig.get("/x?a=1&preview_token=s3cret", "Accept: text/html\r\n").await;
    assert!(opened.starts_with("HTTP/1.1 303 ") && opened.contains("location: /x?a=1\r\n"), "{opened}");
    let cookie = opened.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    assert!(rig.get("/", &format!("Cookie: a=b; {pair}\r\n")).await.ends_with("hi"));
    let seen = heads.recv().await.expect("a request");
    assert!(seen.contains("cookie: a=b\r\n") && !seen.contains("preview_access"), "{seen}");
}

#[tokio::test]
async fn frame_ancestors_restrict_the_agents_pages_and_the_dev_servers() {
    let (address, _) = answering(ok("hi")).await;
    let frame_ancestors = FrameAncestors::parse("https://app.example").expect("sources");
    let rig = Rig::new(Settings { frame_ancestors, ..short() }, installing());
    assert!(rig.page().await.contains("frame-ancestors https://app.example\r\n"));
    rig.view.send_replace(serving(address));
    assert!(rig.page().await.contains("content-security-policy: frame-ancestors https://app.example\r\n"));
}
