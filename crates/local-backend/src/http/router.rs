use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::state::Api;
use super::{broadcast, edge_functions, fault_control, renewal, rpc, storage, tables, websocket};
use crate::options::FaultApi;

/// Largest body of a request in bytes: a bulk of many files.
const MAX_BODY: usize = 64 << 20;

/// Every route of the API, with or without the switches of faults.
pub fn router(api: Arc<Api>, faults: FaultApi) -> Router {
    let router = match faults {
        FaultApi::Served => fault_control::routes(),
        FaultApi::Hidden => Router::new(),
    };
    router
        .route("/realtime/v1/websocket", get(websocket::open))
        .route("/realtime/v1/api/broadcast", post(broadcast::many))
        .route("/realtime/v1/api/broadcast/{topic}/events/{event}", post(broadcast::one))
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
        .route("/functions/v1/preview-session", post(edge_functions::open).fallback(edge_functions::not_found))
        .route("/functions/v1/preview-session/renew", post(renewal::renew).fallback(edge_functions::not_found))
        .route(
            "/functions/v1/preview-session/{id}",
            get(edge_functions::show).delete(edge_functions::end).fallback(edge_functions::not_found),
        )
        .route(
            "/functions/v1/build-project-snapshot",
            post(edge_functions::build).fallback(edge_functions::method_not_allowed),
        )
        .fallback(any(|| async { (StatusCode::NOT_FOUND, "not found\n") }))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

async fn jwks(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "keys": api.settings.jwks }))
}
