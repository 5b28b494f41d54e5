use std::future::pending;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use listener::{Limits, open_files_limit};
use tokio::net::TcpListener;

/// Most TCP connections at a time. Half of the open files that the process may have is a lower bound.
const MAX_CONNECTIONS: usize = 4096;

/// How long a client may take to send a request's head: tests on a busy machine are slow.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Serves until it is aborted, and closes its connections then.
pub async fn serve(tcp_listener: TcpListener, router: Router) {
    let connections = MAX_CONNECTIONS.min(open_files_limit() / 2);
    let limits = Limits { connections, head_time: HEAD_TIME, ..Limits::default() };
    listener::serve(tcp_listener, router.into_make_service(), limits, pending()).await;
}

/// A response that closes TCP without an answer: its body fails before its head was sent.
pub fn close_connection() -> Response {
    let failed = async { Err::<Bytes, _>(io::Error::other("a fault closes the connection")) };
    Response::new(Body::from_stream(stream::once(failed)))
}
