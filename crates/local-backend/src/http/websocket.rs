//! `GET /realtime/v1/websocket`: the upgrade to a websocket and its refusals.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::server::close_connection;
use super::state::Api;
use crate::realtime::{Connection, Protocol, Realtime};
use crate::token::TokenError;

/// The text for a suspended tenant, as the real server has it.
const SUSPENDED: &str = "Realtime was disabled for this tenant";

pub async fn open(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
    mut request: Request,
) -> Response {
    let realtime = &api.realtime;
    let protocol = match query.get("vsn").map(String::as_str) {
        None | Some("1.0.0") => Protocol::V1,
        Some("2.0.0") => Protocol::V2,
        Some(_) => return StatusCode::FORBIDDEN.into_response(),
    };
    match api.faults.roll(|all, _| (all.refuse_connections, all.suspend_tenant)) {
        (Some(0), _) => return close_connection(),
        (Some(status), _) => return refusal(realtime, status, "Refused").await,
        (None, true) => return refusal(realtime, 403, SUSPENDED).await,
        (None, false) => {}
    }
    let Some(apikey) = apikey(request.headers(), &query) else {
        return refusal(realtime, 401, "API key is missing").await;
    };
    match api.keys.verify_live(&apikey) {
        Ok(_) => {}
        Err(TokenError::Expired(_)) => return refusal(realtime, 401, "Token has expired").await,
        Err(error) => return refusal(realtime, 401, &error.to_string()).await,
    }
    let Some(permit) = realtime.permit() else {
        return refusal(realtime, 429, "Too many connected users").await;
    };
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let connection = Connection::new(permit, protocol, apikey);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => connection.serve(stream).await,
            Err(error) => tracing::debug!(%error, "a websocket ended before it was open"),
        }
    });
    let accept = derive_accept_key(key.as_bytes());
    let headers =
        [(CONNECTION, "upgrade".to_owned()), (UPGRADE, "websocket".to_owned()), (SEC_WEBSOCKET_ACCEPT, accept)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Realtime reads the header `x-api-key` and, without it, the query; not the headers `apikey` and `authorization`.
fn apikey(headers: &HeaderMap, query: &HashMap<String, String>) -> Option<String> {
    let header = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    header.or_else(|| query.get("apikey").cloned())
}

async fn refusal(realtime: &Realtime, status: u16, error: &str) -> Response {
    tokio::time::sleep(realtime.settings.refusal_delay).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({ "error": error }))).into_response()
}
