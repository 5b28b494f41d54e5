//! What dev servers send: a broken answer is the client's to know, and harms nothing else.

use std::time::Instant;

use preview_proxy::Settings;
use tokio::io::AsyncWriteExt;

use crate::rig::{PATIENCE, Rig, SHORT, answering, dev_server, head, ok, rest, serving, short};

async fn get_from(bytes: &str) -> String {
    let (address, _) = answering(bytes).await;
    Rig::before(address).get("/x", "").await
}

#[tokio::test]
async fn garbage_is_a_bad_answer() {
    for bytes in
        ["hello\r\n\r\n", "", "HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nX:"]
    {
        let answer = get_from(bytes).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("dev_server_bad_answer"), "{bytes:?}: {answer}");
    }
}

#[tokio::test]
async fn a_person_gets_a_page_that_does_not_reload_itself() {
    let (address, _) = answering("hello\r\n\r\n").await;
    let page = Rig::before(address).page().await;
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("text/html") && !page.contains("http-equiv"), "{page}");
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let (address, _) = dev_server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X-Endless: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    })
    .await;
    assert!(Rig::before(address).get("/", "").await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn one_that_hangs_is_a_timeout() {
    let (address, _) = dev_server(|mut stream| async move {
        rest(&mut stream).await;
    })
    .await;
    let answer = Rig::before(address).get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("dev_server_no_answer"), "{answer}");
}

#[tokio::test]
async fn endless_interim_answers_are_a_timeout_and_delay_no_other_request() {
    let (address, _) =
        dev_server(
            |mut stream| async move { while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {} },
        )
        .await;
    // Only the answer's time is short: on a busy machine the others would end first.
    let mut settings = Settings::open();
    settings.limits.answer_time = SHORT * 3;
    let rig = Rig::new(settings, serving(address));
    let (endless, other) = tokio::join!(rig.get("/", ""), async {
        tokio::time::sleep(SHORT).await;
        let started = Instant::now();
        let answer = rig.get("/.preview-agent/other", "").await;
        (answer, started.elapsed())
    });
    assert!(endless.starts_with("HTTP/1.1 504 "), "{endless}");
    assert!(other.0.starts_with("HTTP/1.1 404 ") && other.1 < PATIENCE / 10, "{other:?}");
}

#[tokio::test]
async fn the_request_ends_when_its_client_goes_away() {
    // An answer that never begins, and one that never ends.
    for start in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"] {
        let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let (address, mut heads) = dev_server(move |mut stream| {
            let ended = ended.clone();
            async move {
                let _ = stream.write_all(start.as_bytes()).await;
                rest(&mut stream).await;
                let _ = ended.send(());
            }
        })
        .await;
        let mut settings = short();
        settings.limits.answer_time = PATIENCE * 10;
        let rig = Rig::new(settings, serving(address));
        let mut stream = rig.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        heads.recv().await.expect("a request");
        if !start.is_empty() {
            head(&mut stream).await;
        }
        drop(stream);
        tokio::time::timeout(PATIENCE, ends.recv()).await.expect("its connection ends in time").expect("it ends");
    }
}

#[tokio::test]
async fn one_that_closes_in_the_middle_ends_the_answer_visibly() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let answer = get_from(short).await;
    assert!(answer.contains("content-length: 100") && answer.ends_with("only this"), "{answer}");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let answer = get_from(chunked).await;
    assert!(answer.ends_with("5\r\nhello\r\n"), "no last chunk: {answer}");
}

#[tokio::test]
async fn one_that_resets_is_a_bad_answer() {
    let (address, _) = dev_server(|stream| async move {
        let socket = stream.into_std().expect("a socket");
        // Closing with data unread sends a reset.
        drop(socket);
    })
    .await;
    let rig = Rig::before(address);
    let answer = rig.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn a_protocol_that_was_not_asked_for_is_a_bad_answer() {
    let switched = "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    assert!(get_from(switched).await.starts_with("HTTP/1.1 502 "));
    let (address, _) = answering(switched).await;
    let rig = Rig::before(address);
    let answer =
        rig.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let (address, _) = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    let rig = Rig::before(address);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    let answer = rig.send(request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("no"), "{answer}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    // Answers once for each connection, without saying that it will close.
    let (address, _) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    for _ in 0..20 {
        assert!(rig.get("/", "").await.ends_with("hi"));
    }
}

#[tokio::test]
async fn redirects_to_its_own_address_stay_in_the_preview() {
    let (address, _) = dev_server(|mut stream| async move {
        let port = stream.local_addr().expect("an address").port();
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/app/\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("sent");
    })
    .await;
    let answer = Rig::before(address).get("/", "").await;
    assert!(answer.contains("location: /app/\r\n"), "{answer}");
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let answer = get_from(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-Own: 2\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.contains("x-own: 2") && !answer.contains("x-hop") && !answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn an_answer_of_http_1_0_is_passed_on() {
    let answer = get_from("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("to the end"), "{answer}");
}
