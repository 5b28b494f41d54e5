//! What clients that break a bound get.

use std::future::pending;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use listener::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

fn short() -> Limits {
    Limits { head_time: SHORT, idle_time: SHORT * 3, stall_time: SHORT, ..Limits::default() }
}

fn router() -> Router {
    Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
        .route("/slow", get(async || tokio::time::sleep(SHORT).await))
        .route("/large", get(async || vec![b'x'; 64 << 20]))
        .route(
            "/echo",
            post(async |body: Result<String, axum::extract::rejection::StringRejection>| match body {
                Ok(body) => body,
                Err(error) => format!("failed: {error}"),
            }),
        )
}

async fn start(limits: Limits, stop: impl Future<Output = ()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(listener::serve(listener, service, limits, stop));
    address
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

/// All that comes until the server closes; a reset counts as the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
        }
    };
    timeout(PATIENCE, read).await.expect("the server closes in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(address: SocketAddr) -> String {
    rest(&mut connect(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await).await
}

#[tokio::test]
async fn answers_requests_and_keeps_connections_alive() {
    let address = start(short(), pending()).await;
    let mut stream = connect(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.expect("an answer");
    assert!(String::from_utf8_lossy(&buffer[..read]).ends_with("127.0.0.1"));
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        .await
        .expect("sent");
    assert!(rest(&mut stream).await.ends_with("hi"));
}

#[tokio::test]
async fn a_request_head_that_stops_is_answered_with_408() {
    let address = start(short(), pending()).await;
    let mut silent = connect(address, "").await;
    let mut half = connect(address, "GET / HTTP/1.1\r\nHo").await;
    let mut second = connect(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(SHORT / 4).await;
    second.write_all(b"GET / HT").await.expect("sent");
    assert!(rest(&mut silent).await.starts_with("HTTP/1.1 408 "));
    assert!(rest(&mut half).await.starts_with("HTTP/1.1 408 "));
    let second = rest(&mut second).await;
    assert!(second.starts_with("HTTP/1.1 200 ") && second.contains("HTTP/1.1 408 "), "{second}");
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_ends_all_the_same() {
    let address = start(short(), pending()).await;
    let started = Instant::now();
    let mut stream = connect(address, "GET / HTTP/1.1\r\n").await;
    while started.elapsed() < PATIENCE {
        if stream.write_all(b"X").await.is_err() {
            break;
        }
        tokio::time::sleep(SHORT / 10).await;
    }
    assert!(started.elapsed() < PATIENCE, "it went on for ever");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let address = start(short(), pending()).await;
    let mut stream = connect(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("408"), "{answer}");
}

#[tokio::test]
async fn a_slow_answer_is_not_cut_off() {
    let limits = Limits { head_time: SHORT / 4, idle_time: SHORT / 2, ..short() };
    let address = start(limits, pending()).await;
    let mut stream = connect(address, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_body_that_stops_is_an_error_for_the_service() {
    let address = start(short(), pending()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhal";
    let answer = rest(&mut connect(address, head).await).await;
    assert!(answer.contains("failed: "), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let limits = Limits { connections: 1, loopback_connections: 0, ..short() };
    let address = start(limits, pending()).await;
    let stuck = connect(address, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(ask(address).await.starts_with("HTTP/1.1 503 "));
    let started = Instant::now();
    while !ask(address).await.starts_with("HTTP/1.1 200 ") {
        assert!(started.elapsed() < PATIENCE, "its place is never free");
        tokio::time::sleep(SHORT / 4).await;
    }
    drop(stuck);
}

#[tokio::test]
async fn large_heads_are_refused() {
    let address = start(Limits { head_bytes: 16 << 10, ..short() }, pending()).await;
    let bomb = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(20 << 10));
    assert!(rest(&mut connect(address, &bomb).await).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200));
    assert!(rest(&mut connect(address, &many).await).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn where_all_places_are_taken_a_connection_gets_503() {
    let limits = Limits { connections: 2, loopback_connections: 1, ..Limits::default() };
    let address = start(limits, pending()).await;
    // An answer that is not read keeps its connection busy: only connections without a request make room.
    let large = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    let _busy = [connect(address, large).await, connect(address, large).await];
    tokio::time::sleep(SHORT).await;
    assert!(ask(address).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let limits = Limits { connections: 16, loopback_connections: 0, idle_time: PATIENCE * 10, ..Limits::default() };
    let address = start(limits, pending()).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut start = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut start)).await.expect("in time").expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 200");
        idle.push(stream);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn stopping_lets_a_request_end_and_closes_idle_connections() {
    let (stop, stopped) = oneshot::channel::<()>();
    let limits = Limits { stop_time: PATIENCE, ..Limits::default() };
    let address = start(limits, async move { _ = stopped.await }).await;
    let mut idle = connect(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut slow = connect(address, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(SHORT / 4).await;
    stop.send(()).expect("it runs");
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 200 "));
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200 "));
    assert!(TcpStream::connect(address).await.is_err());
}
