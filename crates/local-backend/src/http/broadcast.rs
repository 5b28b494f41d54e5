//! `POST /realtime/v1/api/broadcast`: broadcasts without a websocket, many at a time or one.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::postgrest::caller;
use crate::http::server::App;
use crate::realtime::{Body, Cast, CastBody, Topic};
use crate::token::Claims;

/// Messages of one request.
const MAX_MESSAGES: usize = 1000;

#[derive(Deserialize)]
pub struct Messages {
    messages: Vec<OneMessage>,
}

#[derive(Deserialize)]
struct OneMessage {
    topic: String,
    event: String,
    payload: Value,
    #[serde(default)]
    private: bool,
}

/// 202 whatever comes of it: a message that the caller has no right to send goes nowhere, silently.
pub async fn broadcast(State(app): State<Arc<App>>, headers: HeaderMap, Json(body): Json<Messages>) -> Response {
    let claims = match caller(&headers, &app.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    if body.messages.len() > MAX_MESSAGES {
        return (StatusCode::TOO_MANY_REQUESTS, Json(json!({"message": "Too many messages"}))).into_response();
    }
    for message in body.messages {
        let payload = json!({"event": message.event, "payload": message.payload, "type": "broadcast"}).to_string();
        if payload.len() > app.options.broadcast_limit {
            return too_large();
        }
        let cast = Cast { event: Some(message.event), body: CastBody::Text(payload) };
        send(&app, &claims, &message.topic, message.private, &cast).await;
    }
    StatusCode::ACCEPTED.into_response()
}

/// `POST /realtime/v1/api/broadcast/<topic>/events/<event>?private=true`: one, its payload being the body, JSON or not.
pub async fn broadcast_one(
    State(app): State<Arc<App>>,
    Path((topic, event)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let claims = match caller(&headers, &app.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    if body.len() > app.options.broadcast_limit {
        return too_large();
    }
    let body = match headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream") {
        true => Body::Bytes(body),
        false => match serde_json::from_slice::<Value>(&body) {
            Ok(payload) => Body::Json(payload.to_string()),
            Err(error) => {
                return (StatusCode::BAD_REQUEST, Json(json!({"message": error.to_string()}))).into_response();
            }
        },
    };
    let private = query.get("private").is_some_and(|private| private == "true");
    send(&app, &claims, &topic, private, &Cast { event: Some(event), body: CastBody::Push(body) }).await;
    StatusCode::ACCEPTED.into_response()
}

async fn send(app: &App, claims: &Claims, topic: &str, private: bool, cast: &Cast) {
    if !private || app.policies.may_send(claims, topic).await {
        let topic = Topic { name: format!("realtime:{topic}"), private };
        app.realtime.hub.deliver(&topic, cast, None);
    }
}

fn too_large() -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"message": "Payload size exceeded"}))).into_response()
}
