//! `POST /realtime/v1/api/broadcast`: a broadcast without a websocket.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::postgrest::caller;
use crate::realtime::{Cast, CastBody, Topic};
use crate::server::App;

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
            let error = json!({"message": "Payload size exceeded"});
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response();
        }
        if !message.private || app.rights.may_send(&claims, &message.topic) {
            let topic = Topic { name: format!("realtime:{}", message.topic), private: message.private };
            let cast = Cast { event: Some(message.event), body: CastBody::Text(payload) };
            app.realtime.hub.deliver(&topic, &cast, None);
        }
    }
    StatusCode::ACCEPTED.into_response()
}
