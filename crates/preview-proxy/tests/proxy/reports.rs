//! What pages report, and what is sent to those in frames.

use std::sync::Arc;
use std::time::Duration;

use diagnostics::{PageEvent, PageReport};
use preview_proxy::{AccessToken, FrameAncestors, Settings};
use tokio::io::AsyncWriteExt;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, answering, exactly, head, installing, ok, serving, short};

const OWN: &str = "Origin: http://localhost\r\n";

fn error(message: &str) -> String {
    format!(
        r#"{{"id":"a1","page":"/","events":[{{"type":"error","kind":"runtime","message":"{message}","count":3}}],"omitted":1}}"#
    )
}

fn reporting(capacity: usize) -> (Rig, mpsc::Receiver<PageReport>) {
    let (sender, reports) = mpsc::channel(capacity);
    (Rig::new(Settings { reports: Some(sender), ..short() }, installing()), reports)
}

async fn post(rig: &Rig, fields: &str, body: &str) -> String {
    let length = body.len();
    let head = "POST /.preview-agent/report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    rig.send(&format!("{head}Content-Length: {length}\r\n{fields}\r\n{body}")).await
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

/// Errors that a report has, with those that it only counts.
fn errors(mut report: PageReport) -> u64 {
    report.take_errors()
}

#[tokio::test]
async fn a_report_of_an_own_page_is_passed_on() {
    let (rig, mut reports) = reporting(8);
    for fields in [OWN, "Sec-Fetch-Site: same-origin\r\nOrigin: https://behind-tls.test\r\n"] {
        assert_eq!(status(&post(&rig, fields, &error("x is undefined")).await), "204");
        let report = reports.recv().await.expect("a report");
        assert!(matches!(&report.events[..], [PageEvent::Error { message, .. }] if message == "x is undefined"));
        assert_eq!(errors(report), 4);
    }
}

#[tokio::test]
async fn no_other_site_reports() {
    let (rig, mut reports) = reporting(8);
    for fields in [
        "",
        "Origin: null\r\n",
        "Origin: https://evil.test\r\n",
        "Origin: http://localhost\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: http://localhost\r\nSec-Fetch-Site: same-site\r\n",
    ] {
        assert_eq!(status(&post(&rig, fields, &error("forged")).await), "403", "{fields}");
    }
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn a_private_preview_takes_reports_with_its_cookie_only() {
    let (sender, mut reports) = mpsc::channel(8);
    let settings = Settings { reports: Some(sender), access: Some(AccessToken::new("secret")), ..short() };
    let rig = Rig::new(settings, installing());
    assert_eq!(status(&post(&rig, OWN, &error("x")).await), "401");
    assert_eq!(status(&rig.get("/.preview-agent/page.js", "").await), "401");
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_a_report_is_refused() {
    let (rig, mut reports) = reporting(8);
    assert_eq!(status(&post(&rig, OWN, "{}").await), "400");
    assert_eq!(status(&post(&rig, OWN, &"x".repeat((64 << 10) + 1)).await), "413");
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 65 << 10, "x".repeat(65 << 10));
    let head = "POST /.preview-agent/report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    assert_eq!(status(&rig.send(&format!("{head}{OWN}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await), "413");
    assert_eq!(status(&rig.get("/.preview-agent/report", OWN).await), "405");
    assert!(reports.try_recv().is_err());
    let without = Rig::new(short(), installing());
    assert_eq!(status(&post(&without, OWN, &error("x")).await), "404");
}

#[tokio::test]
async fn of_too_many_reports_the_errors_are_counted() {
    let (rig, mut reports) = reporting(1000);
    let mut refused = 0;
    for _ in 0..60 {
        match status(&post(&rig, OWN, &error("again")).await) {
            "204" => {}
            "429" => refused += 1,
            other => panic!("{other}"),
        }
    }
    // On a slow machine they take several seconds.
    assert!(refused > 0, "not limited");
    let mut count = 0;
    while count < 240 {
        count += errors(timeout(PATIENCE, reports.recv()).await.expect("the rest in time").expect("a report"));
    }
    assert_eq!(count, 240);
}

#[tokio::test]
async fn a_receiver_that_is_behind_gets_the_count() {
    let (rig, mut reports) = reporting(1);
    for _ in 0..10 {
        assert_eq!(status(&post(&rig, OWN, &error("again")).await), "204");
    }
    assert_eq!(errors(reports.recv().await.expect("the first")), 4);
    assert_eq!(status(&post(&rig, OWN, &error("again")).await), "204");
    assert_eq!(errors(reports.recv().await.expect("the last, with the count")), 40);
}

#[tokio::test]
async fn documents_get_the_script_and_it_is_served() {
    let (sender, _reports) = mpsc::channel(1);
    let (address, mut heads) = answering(ok("<!doctype html><html><head><script>app()</script>")).await;
    let rig = Rig::new(Settings { reports: Some(sender), ..short() }, serving(address));
    let page = rig.get("/", "Accept: text/html\r\nSec-Fetch-Dest: iframe\r\nAccept-Encoding: br\r\n").await;
    assert!(heads.recv().await.expect("a request").contains("accept-encoding: identity"));
    let (_, after) = page.split_once("<head><script src=\"").expect("the script, first");
    let (script, rest) = after.split_once("\"></script>").expect("its end");
    assert!(rest.contains("<script>app()</script>"), "{page}");
    let script = rig.get(script, "").await;
    assert!(script.contains("content-type: text/javascript") && script.contains("immutable"), "{script}");
    let part = rig.get("/", "Accept: text/html\r\nSec-Fetch-Dest: empty\r\nAccept-Encoding: br\r\n").await;
    assert!(heads.recv().await.expect("a request").contains("accept-encoding: br"));
    assert!(!part.contains("page.js"), "{part}");
}

#[tokio::test]
async fn notices_reach_the_pages_that_follow_them() {
    let (notices, _) = broadcast::channel::<Arc<str>>(8);
    let frame_ancestors = FrameAncestors::parse("https://editor.test").expect("a list");
    let settings = Settings { notices: Some(notices.clone()), frame_ancestors, ..short() };
    let rig = Rig::new(settings, installing());
    assert_eq!(status(&rig.get("/.preview-agent/notices", "Sec-Fetch-Site: cross-site\r\n").await), "403");
    let mut stream = rig.connect().await;
    let request = "GET /.preview-agent/notices HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    assert!(head(&mut stream).await.contains("text/event-stream"));
    // The size of the first chunk, and the chunk.
    let connected = exactly(&mut stream, "e\r\n: connected\n\n\r\n".len() - 1).await;
    assert!(String::from_utf8_lossy(&connected).contains(": connected"));
    notices.send(r#"{"type":"verdict"}"#.into()).expect("a follower");
    let notice = exactly(&mut stream, 30).await;
    assert!(String::from_utf8_lossy(&notice).contains(r#"data: {"type":"verdict"}"#));
    drop(stream);
    let gone = async {
        while notices.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the stream ends with its page");
}
