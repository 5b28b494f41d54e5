//! Health, readiness, metrics, status and logs over HTTP.

pub mod codes;

mod board;
mod metrics;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub use board::Board;
pub use metrics::count;
pub use sync_core::Phase;

/// Lines of `/logs` where the request names no number.
const LOG_TAIL: usize = 200;

struct Shown {
    board: Board,
    metrics: Option<PrometheusHandle>,
    token: Option<SecretString>,
}

/// Serves the board at `addr` until the runtime ends; answers the address bound.
///
/// # Errors
/// The address is taken or cannot be bound.
pub async fn serve(addr: SocketAddr, token: Option<SecretString>, board: Board) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr).await?;
    let bound = listener.local_addr()?;
    let shown = Arc::new(Shown { board, metrics: metrics::start(), token });
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status))
        .route("/logs", get(logs))
        .with_state(shown)
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(event_type = "status_failed", %error, "the status server ended: {error}");
        }
    });
    Ok(bound)
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let (ready, body) = shown.board.readiness();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

async fn metrics_text(State(shown): State<Arc<Shown>>) -> Response {
    shown.board.set_gauges();
    let text = shown.metrics.as_ref().map(PrometheusHandle::render);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text.unwrap_or_default()).into_response()
}

async fn status(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !shown.lets_in(from.ip(), &headers) {
        return refused();
    }
    Json(shown.board.status()).into_response()
}

#[derive(Deserialize)]
struct Tail {
    tail: Option<usize>,
}

async fn logs(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(query): Query<Tail>,
) -> Response {
    if !shown.lets_in(from.ip(), &headers) {
        return refused();
    }
    let lines = shown.board.log_tail(query.tail.unwrap_or(LOG_TAIL));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response()
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, "only from loopback, or with STATUS_TOKEN as a bearer token\n").into_response()
}

impl Shown {
    fn lets_in(&self, from: IpAddr, headers: &HeaderMap) -> bool {
        if from.to_canonical().is_loopback() {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match (&self.token, given.and_then(|value| value.strip_prefix("Bearer "))) {
            // Digests are compared, so that the time taken says nothing about the token.
            (Some(token), Some(given)) => Sha256::digest(token.expose_secret()) == Sha256::digest(given),
            _ => false,
        }
    }
}
