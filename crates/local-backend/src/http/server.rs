use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower_service::Service as _;

use crate::faults::Faults;
use crate::options::Options;
use crate::realtime::{self, Realtime};
use crate::store::Store;
use crate::store::objects::Objects;
use crate::store::policies::Policies;
use crate::store::preview_sessions::Sessions;
use crate::store::rights::Rights;
use crate::store::snapshots;
use crate::token::Keys;

use super::{broadcast as rest, edge_functions as functions, fault_control as control, renewal, rpc, storage, tables};

/// The largest body of a request: a bulk of many files.
const MAX_BODY: usize = 64 << 20;
/// TCP connections at a time.
const MAX_TCP: usize = 4096;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What all requests share.
pub struct App {
    pub options: Options,
    pub url: String,
    pub keys: Arc<Keys>,
    pub rights: Rights,
    pub policies: Policies,
    pub store: Store,
    pub objects: Arc<Objects>,
    pub faults: Faults,
    pub realtime: Arc<Realtime>,
    pub snapshots: snapshots::Snapshots,
    pub sessions: Sessions,
    pub anon_key: String,
}

/// Every place of the API, and with `faults` their switchboard.
pub fn router(app: Arc<App>, faults: bool) -> Router {
    let router = if faults { control::routes() } else { Router::new() };
    router
        .route("/realtime/v1/websocket", get(realtime::websocket))
        .route("/realtime/v1/api/broadcast", post(rest::broadcast))
        .route("/realtime/v1/api/broadcast/{topic}/events/{event}", post(rest::broadcast_one))
        .route("/rest/v1/rpc/{function}", post(rpc::post).get(rpc::get))
        .route(
            "/rest/v1/{table}",
            get(tables::select).post(tables::insert).patch(tables::update).delete(tables::delete),
        )
        .route("/storage/v1/object/sign/{*object}", get(storage::signed).post(storage::sign))
        .route("/storage/v1/object/authenticated/{*object}", get(storage::read))
        .route("/storage/v1/object/list/{bucket}", post(storage::list))
        .route(
            "/storage/v1/object/{*object}",
            delete(storage::remove).get(storage::read).post(storage::upload).put(storage::replace),
        )
        .route("/auth/v1/.well-known/jwks.json", get(jwks))
        .route("/functions/v1/preview-session", post(functions::open).fallback(functions::no_such_place))
        .route("/functions/v1/preview-session/renew", post(renewal::renew).fallback(functions::no_such_place))
        .route(
            "/functions/v1/preview-session/{id}",
            get(functions::look).delete(functions::end).fallback(functions::no_such_place),
        )
        .route("/functions/v1/build-project-snapshot", post(functions::build).fallback(functions::only_post))
        .fallback(any(|| async { (StatusCode::NOT_FOUND, "the local backend has no such place\n") }))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

async fn jwks(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "keys": app.options.jwks }))
}

/// Serves until it is aborted; its connections end with it.
pub async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: it passes.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        if open.load(Ordering::Relaxed) >= MAX_TCP {
            continue;
        }
        let (open, router) = (open.clone(), router.clone());
        open.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            connection(stream, router).await;
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connection(stream: TcpStream, router: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answer = router.call(request.map(axum::body::Body::new)).await;
            let response: Response = answer.unwrap_or_else(|never: Infallible| match never {});
            match response.extensions().get::<HangUp>() {
                Some(_) => Err("a fault asks to hang up"),
                None => Ok(response),
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

#[derive(Clone)]
struct HangUp;

/// Stands for: close TCP without an answer.
pub fn hang_up() -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(HangUp);
    response
}
