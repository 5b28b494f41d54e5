//! The Realtime server: Phoenix channels over a websocket, in both protocol versions.

mod changes;
mod channels;
mod frame;
mod hub;
mod join;
mod presence;
mod queue;
mod socket;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::faults::Faults;
use crate::http::server::{App, hang_up};
use crate::store::policies::Policies;
use crate::token::{Keys, TokenError};

use frame::Vsn;
use presence::Presence;

pub use changes::Changes;
pub use frame::Body;
pub use hub::{Cast, CastBody, Hub, Topic};
pub use told::Agents;

/// What all sockets share.
pub struct Realtime {
    pub hub: Arc<Hub>,
    pub changes: Arc<Changes>,
    presence: Presence,
    keys: Arc<Keys>,
    policies: Policies,
    faults: Faults,
    refusal_delay: Duration,
    join_refusal_delay: Duration,
    silence_limit: Duration,
    stream_gap: Duration,
    postgres_changes_delay: Duration,
    broadcast_limit: usize,
    frame_limit: usize,
    queue_bytes: usize,
    max_connections: usize,
    connections: AtomicUsize,
    last_id: AtomicU64,
}

impl Realtime {
    /// Must be called inside a runtime.
    pub fn new(options: &crate::Options, keys: Arc<Keys>, policies: Policies, faults: Faults) -> Realtime {
        Realtime {
            hub: Hub::new(faults.clone()),
            changes: Arc::default(),
            presence: Presence::default(),
            keys,
            policies,
            faults,
            refusal_delay: options.refusal_delay,
            join_refusal_delay: options.join_refusal_delay,
            silence_limit: options.silence_limit,
            stream_gap: options.stream_gap,
            postgres_changes_delay: options.postgres_changes_delay,
            broadcast_limit: options.broadcast_limit,
            frame_limit: options.frame_limit,
            queue_bytes: options.queue_bytes,
            max_connections: options.max_connections,
            connections: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
        }
    }

    /// Websockets that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Takes one of the places for sockets, and gives it back.
struct Place(Arc<Realtime>);

impl Place {
    fn take(realtime: &Arc<Realtime>) -> Option<Place> {
        let place = Place(realtime.clone());
        (realtime.connections.fetch_add(1, Ordering::Relaxed) < realtime.max_connections).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /realtime/v1/websocket`.
pub async fn websocket(
    State(app): State<Arc<App>>,
    Query(query): Query<HashMap<String, String>>,
    mut request: Request,
) -> Response {
    let realtime = app.realtime.clone();
    let vsn = match query.get("vsn").map(String::as_str) {
        None | Some("1.0.0") => Vsn::V1,
        Some("2.0.0") => Vsn::V2,
        Some(_) => return StatusCode::FORBIDDEN.into_response(),
    };
    match realtime.faults.roll(|all, _| all.refuse_connections) {
        Some(0) => return hang_up(),
        Some(status) => return refusal(&realtime, status, "Refused").await,
        None => {}
    }
    let apikey = match apikey(request.headers(), &query) {
        Some(apikey) => apikey,
        None => return refusal(&realtime, 401, "API key is missing").await,
    };
    match realtime.keys.verify_live(&apikey) {
        Ok(_) => {}
        Err(TokenError::Expired(_)) => return refusal(&realtime, 401, "Token has expired").await,
        Err(error) => return refusal(&realtime, 401, &error.to_string()).await,
    }
    let Some(place) = Place::take(&realtime) else {
        return refusal(&realtime, 429, "Too many connected users").await;
    };
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    // From here on a cut counts for this socket too.
    let cuts = realtime.faults.cuts();
    tokio::spawn(async move {
        let _place = place;
        match upgrade.await {
            Ok(stream) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(realtime.frame_limit))
                    .max_frame_size(Some(realtime.frame_limit));
                let stream = TokioIo::new(stream);
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
                socket::serve(socket, realtime, vsn, apikey, cuts).await;
            }
            Err(error) => tracing::debug!(%error, "a websocket went away before it was open"),
        }
    });
    let accept = derive_accept_key(key.as_bytes());
    let headers =
        [(CONNECTION, "upgrade".to_owned()), (UPGRADE, "websocket".to_owned()), (SEC_WEBSOCKET_ACCEPT, accept)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Realtime reads the header `x-api-key` and, without it, the query; not `apikey` or `authorization`.
fn apikey(headers: &HeaderMap, query: &HashMap<String, String>) -> Option<String> {
    let header = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    header.or_else(|| query.get("apikey").cloned())
}

async fn refusal(realtime: &Realtime, status: u16, error: &str) -> Response {
    tokio::time::sleep(realtime.refusal_delay).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({ "error": error }))).into_response()
}
