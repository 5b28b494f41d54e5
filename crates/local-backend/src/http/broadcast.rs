//! `POST /realtime/v1/api/broadcast`: broadcasts over HTTP, many at a time or one.

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

use super::postgrest::caller;
use super::state::Api;
use crate::realtime::{Body, Broadcast, BroadcastBody, Topic, Visibility};
use crate::token::Claims;

/// Most messages of one request.
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

/// Always 202: a message that the caller has no right to send is dropped silently.
pub async fn many(State(api): State<Arc<Api>>, headers: HeaderMap, Json(body): Json<Messages>) -> Response {
    let claims = match caller(&headers, &api.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    if body.messages.len() > MAX_MESSAGES {
        return (StatusCode::TOO_MANY_REQUESTS, Json(json!({"message": "Too many messages"}))).into_response();
    }
    for message in body.messages {
        let payload = json!({"event": message.event, "payload": message.payload, "type": "broadcast"}).to_string();
        if payload.len() > api.settings.broadcast_limit {
            return too_large();
        }
        let broadcast = Broadcast { event: Some(message.event), body: BroadcastBody::Text(payload) };
        send(&api, &claims, &message.topic, visibility(message.private), &broadcast).await;
    }
    StatusCode::ACCEPTED.into_response()
}

/// `POST /realtime/v1/api/broadcast/<topic>/events/<event>?private=true`: one message, whose payload is the body, JSON or bytes.
pub async fn one(
    State(api): State<Arc<Api>>,
    Path((topic, event)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let claims = match caller(&headers, &api.keys) {
        Ok(claims) => claims,
        Err(error) => return error.response(),
    };
    if body.len() > api.settings.broadcast_limit {
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
    let broadcast = Broadcast { event: Some(event), body: BroadcastBody::Push(body) };
    send(&api, &claims, &topic, visibility(private), &broadcast).await;
    StatusCode::ACCEPTED.into_response()
}

fn visibility(private: bool) -> Visibility {
    if private { Visibility::Private } else { Visibility::Public }
}

async fn send(api: &Api, claims: &Claims, topic: &str, visibility: Visibility, broadcast: &Broadcast) {
    if visibility == Visibility::Public || api.policies.may_broadcast(claims, topic).await {
        let topic = Topic { name: format!("realtime:{topic}"), visibility };
        api.realtime.hub.deliver(&topic, broadcast, None);
    }
}

fn too_large() -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"message": "Payload size exceeded"}))).into_response()
}
