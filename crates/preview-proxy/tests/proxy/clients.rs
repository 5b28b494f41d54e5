//! What clients send: each request has a defined answer, and the dev server gets nothing that it could misread.

use std::time::{Duration, Instant};

use bytes::Bytes;
use preview_proxy::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{PATIENCE, Rig, SHORT, answering, dev_server, exactly, head, ok, rest, serving, short};

#[tokio::test]
async fn the_dev_server_gets_the_request_as_its_own() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    let request = "GET /a%20b?c=d HTTP/1.1\r\nHost: app.example:8080\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
        X-Forwarded-Proto: https\r\nAccept-Encoding: br\r\nExpect: 100-continue\r\n\r\n";
    assert!(rig.send(request).await.ends_with("hi"));
    let seen = heads.recv().await.expect("a request");
    assert!(seen.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{seen}");
    let port = address.port();
    for field in [
        format!("host: localhost:{port}"),
        "x-forwarded-host: app.example:8080".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "accept-encoding: br".to_owned(),
    ] {
        assert!(seen.contains(&format!("{field}\r\n")), "{field}: {seen}");
    }
    assert!(!seen.contains("x-hop") && !seen.contains("expect"), "{seen}");
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (address, mut heads) = dev_server(|mut stream| async move {
        loop {
            let body = ok("x");
            if stream.write_all(body.as_bytes()).await.is_err() || head(&mut stream).await.is_empty() {
                return;
            }
        }
    })
    .await;
    let rig = Rig::before(address);
    let mut stream = rig.connect().await;
    for _ in 0..5 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(exactly(&mut stream, 1).await, b"x");
    }
    heads.recv().await.expect("one connection");
    assert!(heads.try_recv().is_err(), "a second connection was made");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    // Echoes chunk by chunk: the second is sent only after the first has come back.
    let (address, _) = dev_server(|mut stream| async move {
        let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(start).await.expect("sent");
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..read]).await.expect("sent");
        }
    })
    .await;
    let rig = Rig::before(address);
    let mut stream = rig.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("sent");
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    for _ in 0..3 {
        stream.write_all(b"5\r\nhello\r\n").await.expect("sent");
        assert_eq!(exactly(&mut stream, 10).await, b"5\r\nhello\r\n");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    assert_eq!(exactly(&mut stream, 5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn websockets_are_passed_on() {
    let (address, mut heads) = dev_server(|mut stream| async move {
        let accepted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: abc\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\nfirst";
        stream.write_all(accepted).await.expect("sent");
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.expect("bytes");
        stream.write_all(&buffer).await.expect("sent");
    })
    .await;
    let rig = Rig::before(address);
    let mut stream = rig.connect().await;
    let port = rig.proxy.address().port();
    let request = format!(
        "GET /?token=x HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let accepted = head(&mut stream).await.to_ascii_lowercase();
    for part in ["http/1.1 101 ", "sec-websocket-accept: abc", "sec-websocket-protocol: vite-hmr", "upgrade: websocket"]
    {
        assert!(accepted.contains(part), "{part}: {accepted}");
    }
    assert_eq!(exactly(&mut stream, 5).await, b"first");
    stream.write_all(b"ping").await.expect("sent");
    assert_eq!(rest(&mut stream).await, "ping", "and it ends when the dev server ends");
    let seen = heads.recv().await.expect("a request");
    assert!(seen.contains(&format!("origin: http://localhost:{}\r\n", address.port())), "{seen}");
}

/// A websocket whose dev server sends these bytes and is gone: what the client gets of it.
async fn websocket_that_ends_after(bytes: &'static [u8]) -> Vec<u8> {
    let (address, _) = dev_server(move |mut stream| async move {
        let accepted = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(accepted).await.expect("sent");
        stream.write_all(bytes).await.expect("sent");
        // The client's bytes are never read: the connection is reset, as that of a process that was killed.
        tokio::time::sleep(SHORT).await;
    })
    .await;
    let rig = Rig::before(address);
    let mut stream = rig.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    head(&mut stream).await;
    stream.write_all(b"\x81\x82\0\0\0\0hi").await.expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("a clean end");
    rest
}

#[tokio::test]
async fn a_websocket_whose_dev_server_is_gone_is_closed_with_a_close_frame() {
    let text = b"\x81\x02hi";
    let closed = [&text[..], b"\x88\x02\x03\xf4"].concat();
    assert_eq!(websocket_that_ends_after(text).await, closed);
    // One that said so itself is not closed twice, and nothing is put into an unfinished frame.
    for bytes in [&b"\x81\x02hi\x88\x02\x03\xe8"[..], b"\x81\x05hi"] {
        assert_eq!(websocket_that_ends_after(bytes).await, bytes);
    }
}

#[tokio::test]
async fn an_idle_websocket_outlives_every_limit() {
    let (address, _) = dev_server(|mut stream| async move {
        let accepted = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(accepted).await.expect("sent");
        tokio::time::sleep(SHORT * 5).await;
        stream.write_all(b"late").await.expect("sent");
    })
    .await;
    let rig = Rig::before(address);
    let mut stream = rig.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    head(&mut stream).await;
    stream.write_all(b"x").await.expect("sent");
    assert_eq!(rest(&mut stream).await, "late");
}

#[tokio::test]
async fn upgrades_to_other_protocols_are_ordinary_requests() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    let fields = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n{fields}\r\n");
    assert!(rig.send(&request).await.ends_with("hi"));
    let seen = heads.recv().await.expect("a request");
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn heads_that_could_be_read_in_two_ways_are_refused() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\na",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let answer = rig.send(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "), "{request:?}: {answer}");
    }
    for method in ["CONNECT a:1", "TRACE /"] {
        let answer = rig.send(&format!("{method} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
    assert!(heads.try_recv().is_err(), "the dev server got one of them");
}

#[tokio::test]
async fn of_both_length_headers_only_the_chunked_one_is_passed_on() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    rig.send(&request).await;
    let seen = heads.recv().await.expect("a request");
    assert!(seen.contains("transfer-encoding: chunked") && !seen.contains("content-length"), "{seen}");
    assert!(heads.try_recv().is_err(), "the hidden request was passed on");
}

#[tokio::test]
async fn chunk_extensions_are_not_passed_on() {
    let (address, _) = dev_server(|mut stream| async move {
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            body.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if read == 0 {
                break;
            }
        }
        stream.write_all(ok(&format!("{body:?}")).as_bytes()).await.expect("sent");
    })
    .await;
    let rig = Rig::before(address);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        2;x=\"1\"\r\nhi\r\n0\r\n\r\n";
    let answer = rig.send(request).await;
    assert!(answer.ends_with(r#""2\r\nhi\r\n0\r\n\r\n""#), "{answer}");
}

#[tokio::test]
async fn slow_heads_and_bodies_end_with_408() {
    let (address, _) = dev_server(|mut stream| async move {
        rest(&mut stream).await;
    })
    .await;
    let rig = Rig::before(address);
    assert!(rig.send("GET / HTTP/1.1\r\nHo").await.starts_with("HTTP/1.1 408 "));
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    assert!(rig.send(body).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let (address, mut heads) = answering(ok("hi")).await;
    let rig = Rig::before(address);
    let one = format!("X: {}\r\n", "x".repeat(100 << 10));
    let many = "X: y\r\n".repeat(1000);
    for fields in [one, many] {
        assert!(rig.get("/", &fields).await.starts_with("HTTP/1.1 431 "));
    }
    let long = rig.get(&format!("/{}", "x".repeat(100 << 10)), "").await;
    assert!(long.starts_with("HTTP/1.1 4"), "{long}");
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn thousands_of_connections_leave_room_for_the_next() {
    let (address, _) = answering(ok("hi")).await;
    let mut settings = short();
    settings.limits.server.connections = 200;
    settings.limits.server.loopback_connections = 20;
    let rig = Rig::new(settings, serving(address));
    let mut silent = Vec::new();
    for _ in 0..2000 {
        // The backlog may be full for a moment: this is about those that are accepted.
        if let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(rig.proxy.address())).await {
            silent.push(stream);
        }
    }
    let started = Instant::now();
    while !rig.page().await.ends_with("hi") {
        assert!(started.elapsed() < PATIENCE, "no place becomes free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn documents_get_the_script_and_nothing_else_does() {
    let (address, mut heads) = answering(ok("<p>hi</p>")).await;
    let settings = Settings { script: Some(Bytes::from_static(b"<script>1</script>")), ..short() };
    let rig = Rig::new(settings, serving(address));
    let page = rig.get("/", "Accept: text/html\r\nAccept-Encoding: gzip, br\r\n").await;
    assert!(page.ends_with("\r\n\r\n<p>hi</p><script>1</script>") && page.contains("content-length: 27"), "{page}");
    assert!(heads.recv().await.expect("a request").contains("accept-encoding: identity\r\n"));
    let (address, mut heads) = answering(ok("x").replace("text/html", "text/css")).await;
    rig.view.send_replace(serving(address));
    assert!(rig.get("/", "Accept-Encoding: gzip\r\n").await.ends_with("\r\n\r\nx"));
    assert!(heads.recv().await.expect("a request").contains("accept-encoding: gzip\r\n"));
}
