//! Health, readiness, metrics, status and logs over HTTP.

pub mod codes;

mod host_check;
mod metrics;
mod problems;
mod process;
mod shared;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, middleware};
use listener::{Hosts, Limits};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub use codes::{BootStep, HydrationPart, Limit};
pub use metrics::count;
pub use problems::ProblemsView;
pub use shared::{HydrationProgress, SharedStatus};
pub use sync_core::Phase;

/// The lines of `/logs` where the request gives no number.
const DEFAULT_LOG_LINES: usize = 200;

/// What the handlers share.
struct ServerState {
    status: SharedStatus,
    metrics: Option<PrometheusHandle>,
    token: Option<SecretString>,
    hosts: Hosts,
}

/// Who may use the status server, and where it is.
#[derive(Debug, Clone)]
pub struct StatusServer {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// Opens `/status`, `/problems` and `/logs` to other machines, as a bearer token.
    pub token: Option<SecretString>,
    /// Host names that requests may carry, besides addresses and `localhost`.
    pub hosts: Hosts,
}

/// Serves `status` until the runtime ends. Returns the address that it is bound to.
///
/// # Errors
/// The address is taken or cannot be bound.
pub async fn serve(server: StatusServer, status: SharedStatus) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(server.addr).await?;
    let bound = listener.local_addr()?;
    let state = ServerState { status, metrics: metrics::start(), token: server.token, hosts: server.hosts };
    let state = Arc::new(state);
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status_json))
        .route("/problems", get(problems_json))
        .route("/logs", get(logs))
        .layer(middleware::from_fn_with_state(state.clone(), host_check::check_host))
        .with_state(state)
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(listener::serve(listener, app, Limits::default(), std::future::pending()));
    Ok(bound)
}

async fn readyz(State(server): State<Arc<ServerState>>) -> Response {
    let (ready, body) = server.status.readiness();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

async fn metrics_text(State(server): State<Arc<ServerState>>) -> Response {
    server.status.update_gauges();
    let mut text = server.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    text += &process::process_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn status_json(
    State(server): State<Arc<ServerState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !server.allows(from.ip(), &headers) {
        return unauthorized();
    }
    Json(server.status.to_json()).into_response()
}

async fn problems_json(
    State(server): State<Arc<ServerState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !server.allows(from.ip(), &headers) {
        return unauthorized();
    }
    Json(server.status.problems_json()).into_response()
}

#[derive(Deserialize)]
struct LogsQuery {
    tail: Option<usize>,
}

async fn logs(
    State(server): State<Arc<ServerState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(query): Query<LogsQuery>,
) -> Response {
    if !server.allows(from.ip(), &headers) {
        return unauthorized();
    }
    let lines = server.status.log_tail(query.tail.unwrap_or(DEFAULT_LOG_LINES));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response()
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, "allowed only from loopback, or with STATUS_TOKEN as a bearer token\n").into_response()
}

impl ServerState {
    fn allows(&self, from: IpAddr, headers: &HeaderMap) -> bool {
        from.to_canonical().is_loopback() || self.has_token(headers)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match (&self.token, given.and_then(|value| value.strip_prefix("Bearer "))) {
            // Digests are compared, so that the time it takes reveals nothing about the token.
            (Some(token), Some(given)) => Sha256::digest(token.expose_secret()) == Sha256::digest(given),
            _ => false,
        }
    }
}
