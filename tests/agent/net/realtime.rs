use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use preview_agent::sync::net::Net;
use preview_agent::sync::realtime::{MAX_MESSAGE, MAX_OUTBOUND, Realtime};
use sync_core::SocketEvent;
use sync_core::wire::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::net::certificates::Certificates;

const KEY: &str = "anon-k3y";

/// A server on a port of its own, and the client for it, not yet connected.
async fn pair() -> (TcpListener, Realtime) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let net = Net::new(None).unwrap();
    let mut realtime = Realtime::new(net, url.parse().unwrap(), KEY.into(), ProtocolVersion::V2);
    realtime.connect();
    (listener, realtime)
}

async fn next(realtime: &mut Realtime) -> SocketEvent {
    let event = timeout(Duration::from_secs(30), realtime.next()).await.expect("an event within 30 s");
    assert!(!format!("{event:?}").contains(KEY), "an event must not hold the key: {event:?}");
    event
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    // The library fixes the error's size.
    #[allow(clippy::result_large_err)]
    fn check(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri(), "/base/realtime/v1/websocket?apikey=anon-k3y&vsn=2.0.0");
        Ok(response)
    }
    accept_hdr_async(stream, check).await.unwrap()
}

/// An open socket, both ends of it.
async fn open() -> (WebSocketStream<TcpStream>, Realtime) {
    let (listener, mut realtime) = pair().await;
    let (event, server) = tokio::join!(next(&mut realtime), async { accept(listener.accept().await.unwrap().0).await });
    assert!(matches!(event, SocketEvent::Opened), "{event:?}");
    (server, realtime)
}

/// Answers the upgrade with these packets.
async fn answered_with(packets: &[&str]) -> SocketEvent {
    let (listener, mut realtime) = pair().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        for packet in packets {
            stream.write_all(packet.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(next(&mut realtime), serve).0
}

#[tokio::test]
async fn carries_frames_both_ways_and_answers_pings() {
    let (mut server, mut realtime) = open().await;
    realtime.send("one".into());
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("one"));
    server.send(Message::text("two")).await.unwrap();
    server.send(Message::binary(vec![4, 0, 255])).await.unwrap();
    assert!(matches!(next(&mut realtime).await, SocketEvent::Text(text) if text == "two"));
    assert!(matches!(next(&mut realtime).await, SocketEvent::Binary(bytes) if *bytes == [4, 0, 255]));
    server.send(Message::Ping("here?".into())).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::Pong("here?".into()));
}

#[tokio::test]
async fn speaks_over_tls_with_an_extra_ca() {
    let certificates = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A server that would rather speak HTTP/2, which knows no such upgrade.
    let acceptor = certificates.acceptor(&["h2", "http/1.1"]);
    let url = format!("https://localhost:{}/base", listener.local_addr().unwrap().port());
    let net = Net::new(Some(certificates.ca.path())).unwrap();
    let mut realtime = Realtime::new(net, url.parse().unwrap(), KEY.into(), ProtocolVersion::V2);
    realtime.connect();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(acceptor.accept(stream).await.unwrap()).await
    };
    let (event, mut server) = tokio::join!(next(&mut realtime), serve);
    assert!(matches!(event, SocketEvent::Opened), "{event:?}");
    server.send(Message::text("hello")).await.unwrap();
    assert!(matches!(next(&mut realtime).await, SocketEvent::Text(text) if text == "hello"));
}

#[tokio::test]
async fn tells_the_status_and_the_body_of_a_refusal_even_in_pieces() {
    let head = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 41\r\n\r\n";
    let event = answered_with(&[head, "Token has expired, ", "apikey=anon-k3y; so no"]).await;
    match event {
        SocketEvent::Refused { status: 401, body, retry_after: None } => {
            assert_eq!(body, "Token has expired, apikey=[secret]; so no");
        }
        event => panic!("{event:?}"),
    }
    let event = answered_with(&["HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"]).await;
    assert!(matches!(event, SocketEvent::Refused { status: 302, .. }), "{event:?}");
    let long = format!("HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n\r\n{}", "x".repeat(100_000));
    let event = answered_with(&[&long]).await;
    let SocketEvent::Refused { status: 429, body, retry_after } = &event else { panic!("{event:?}") };
    assert!(body.len() <= 500, "{event:?}");
    assert_eq!(*retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn takes_no_other_server_for_a_websocket() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "",
    ] {
        let event = answered_with(&[answer]).await;
        assert!(matches!(event, SocketEvent::Failed(_)), "{answer:?}: {event:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let (listener, mut realtime) = pair().await;
    drop(listener);
    realtime.connect();
    assert!(matches!(next(&mut realtime).await, SocketEvent::Failed(_)));
    let quiet = timeout(Duration::from_millis(50), realtime.next()).await;
    assert!(quiet.is_err(), "without a socket nothing happens");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (_listener, mut realtime) = pair().await;
    // Time runs as fast as nothing happens. The kernel accepts; nobody answers.
    let event = realtime.next().await;
    assert!(
        matches!(&event, SocketEvent::Failed(why) if why.contains("20 s") || why.contains("timed out")),
        "{event:?}"
    );
}

#[tokio::test]
async fn tells_how_a_socket_ended() {
    let (mut server, mut realtime) = open().await;
    let frame = CloseFrame { code: 1012.into(), reason: "restart".into() };
    server.close(Some(frame)).await.unwrap();
    let event = next(&mut realtime).await;
    assert!(matches!(&event, SocketEvent::Closed { code: 1012, reason } if reason == "restart"), "{event:?}");
    // Our answer to the close frame.
    while let Some(Ok(message)) = server.next().await {
        assert!(message.is_close(), "{message:?}");
    }

    let (mut server, mut realtime) = open().await;
    server.close(None).await.unwrap();
    assert!(matches!(next(&mut realtime).await, SocketEvent::Closed { code: 1005, .. }));

    let (server, mut realtime) = open().await;
    drop(server);
    assert!(matches!(next(&mut realtime).await, SocketEvent::Closed { code: 1006, .. }));
}

#[tokio::test]
async fn an_absurd_size_or_garbage_ends_the_socket() {
    let (mut server, mut realtime) = open().await;
    server.send(Message::binary(vec![0; MAX_MESSAGE])).await.unwrap();
    assert!(matches!(next(&mut realtime).await, SocketEvent::Binary(bytes) if bytes.len() == MAX_MESSAGE));
    // Its client hangs up before the last byte: then this fails, and that is right.
    let (_, event) = tokio::join!(server.send(Message::binary(vec![0; MAX_MESSAGE + 1])), next(&mut realtime));
    assert!(matches!(event, SocketEvent::Failed(_)), "{event:?}");

    // A reserved opcode, a length that claims eight exabytes, a text that is no UTF-8, a masked frame of a server.
    for garbage in [
        &[0x83, 0x00][..],
        &[0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x81, 0x02, 0xff, 0xfe],
        &[0x81, 0x81, 1, 2, 3, 4, 5],
    ] {
        let (mut server, mut realtime) = open().await;
        server.get_mut().write_all(garbage).await.unwrap();
        let event = next(&mut realtime).await;
        assert!(matches!(event, SocketEvent::Failed(_)), "{garbage:?}: {event:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_given_up() {
    let (_server, mut realtime) = open().await;
    // More than the kernel's buffers hold, and more messages than the queue.
    let message = "x".repeat(1 << 20);
    for _ in 0..=MAX_OUTBOUND {
        realtime.send(message.clone());
    }
    let event = next(&mut realtime).await;
    assert!(matches!(&event, SocketEvent::Failed(why) if why.contains("no more messages")), "{event:?}");
}

#[tokio::test]
async fn disconnecting_says_goodbye_and_silences_the_old_socket() {
    let (mut server, mut realtime) = open().await;
    server.send(Message::text("late")).await.unwrap();
    realtime.disconnect();
    assert!(timeout(Duration::from_millis(50), realtime.next()).await.is_err());
    let goodbye = timeout(Duration::from_secs(10), server.next()).await.expect("a goodbye").unwrap().unwrap();
    assert!(goodbye.is_close(), "{goodbye:?}");
}

#[tokio::test]
async fn connecting_again_replaces_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let mut realtime = Realtime::new(Net::new(None).unwrap(), url.parse().unwrap(), KEY.into(), ProtocolVersion::V2);
    for text in ["first", "second"] {
        realtime.connect();
        let serve = async { accept(listener.accept().await.unwrap().0).await };
        let (event, mut server) = tokio::join!(next(&mut realtime), serve);
        assert!(matches!(event, SocketEvent::Opened), "{event:?}");
        server.send(Message::text(text)).await.unwrap();
        assert!(matches!(next(&mut realtime).await, SocketEvent::Text(got) if got == text));
    }
}
