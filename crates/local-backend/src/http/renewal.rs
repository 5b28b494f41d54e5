//! `POST /functions/v1/preview-session/renew`, the contract's section 6.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::edge_functions::{Refusal, answer, bearer, body, session_refusal, snapshot_request};
use super::rpc::FAULT;
use super::state::{Api, time_after};
use crate::store::preview_sessions::SessionStatus;
use crate::token::{Claims, Keys, now};

/// Seconds after its expiry for which the token of a live session still renews.
const GRACE_SECONDS: u64 = 24 * 3600;

/// 401 for an invalid or too old token, 403 for another session's or without the right, 410 for an ended session.
pub async fn renew(State(api): State<Arc<Api>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    if let Some(response) = fault(&api) {
        return Ok(response);
    }
    let claims = agent(&headers, &api.keys)?;
    let (session, project) = scope(&claims)?;
    let body = body(&bytes)?;
    let wanted = wanted(&body)?;
    let request = snapshot_request(&body)?;
    let named = |name: &str, value: &str| body.get(name).and_then(Value::as_str) == Some(value);
    if !named("session_id", session) || !named("project_id", project) {
        let message = "the token belongs to another session";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_session", message));
    }
    match api.sessions.status(session, project).await.map_err(|error| session_refusal(error, &claims))? {
        SessionStatus::Live => {}
        SessionStatus::Ended => return Err(Refusal::new(StatusCode::GONE, "ended", "the session was ended")),
        SessionStatus::NoRight => {
            let message = "the session's owner has lost the right to the project";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "no_right", message));
        }
    }
    let mut renewed = Map::new();
    if wanted.contains(&Wanted::Token) {
        renewed.insert("realtime_token".into(), json!(api.agent_token(session)));
        renewed.insert("token_expires_at".into(), json!(time_after(api.settings.token_lifetime)));
    }
    if wanted.contains(&Wanted::Snapshot) {
        let signed = api.signed_snapshot(&api.snapshot(request).await?.name);
        renewed.insert("snapshot_url".into(), json!(signed.url));
        renewed.insert("snapshot_expires_at".into(), json!(signed.expires_at));
    }
    Ok(answer(renewed))
}

fn fault(api: &Api) -> Option<Response> {
    let status = api.faults.roll(|all, random| {
        let fail = all.fail_renewal.as_mut()?;
        fail.chance.happens(random).then_some(fail.status)
    })?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Refusal::new(status, "fault", FAULT).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    Some(response)
}

/// The claims of an agent's token, which may have expired up to 24 hours ago.
fn agent(headers: &HeaderMap, keys: &Keys) -> Result<Claims, Refusal> {
    let token = bearer(headers).ok_or_else(|| Refusal::unauthenticated("no token"))?;
    let claims = keys.verify_own(token).map_err(|error| Refusal::unauthenticated(&error.to_string()))?;
    // The tolerance is for the expiry only.
    if claims.valid_from() > now() {
        return Err(Refusal::unauthenticated("the token is not valid yet"));
    }
    match now() > claims.expires_at().saturating_add(GRACE_SECONDS) {
        true => Err(Refusal::unauthenticated("the token expired more than 24 hours ago")),
        false => Ok(claims),
    }
}

/// Session and project of an agent's token.
fn scope(claims: &Claims) -> Result<(&str, &str), Refusal> {
    let not_an_agent = || Refusal::unauthenticated("an agent's token is needed");
    match (claims.role(), claims.text("session_id"), claims.text("project_id")) {
        ("preview_agent", Some(session), Some(project)) => Ok((session, project)),
        _ => Err(not_an_agent()),
    }
}

/// What a renewal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Token,
    Snapshot,
}

impl Wanted {
    const ALL: [Wanted; 2] = [Wanted::Token, Wanted::Snapshot];

    fn as_str(self) -> &'static str {
        match self {
            Wanted::Token => "token",
            Wanted::Snapshot => "snapshot",
        }
    }
}

fn wanted(body: &Map<String, Value>) -> Result<Vec<Wanted>, Refusal> {
    let refused = || Refusal::invalid("want is a list of \"token\" and \"snapshot\"");
    let list = body.get("want").and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(refused)?;
    let parse = |value: &Value| Wanted::ALL.into_iter().find(|wanted| value.as_str() == Some(wanted.as_str()));
    list.iter().map(|value| parse(value).ok_or_else(refused)).collect()
}
