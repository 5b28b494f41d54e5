//! `POST /functions/v1/preview-session/renew`, the contract's section 6.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::http::edge_functions::{Refusal, answer, bearer, body, flag};
use crate::http::server::App;
use crate::http::storage::{SNAPSHOTS, signed_path};
use crate::store::Kind;
use crate::store::preview_sessions::Verdict;
use crate::store::snapshots::{Built, SnapshotError};
use crate::token::{Claims, Keys, now};

/// How long after its end a token of a live session still renews.
const GRACE: u64 = 24 * 3600;

/// 401 for a token that is none or too old, 403 for one of another session or without right, 410 for one that is over.
pub async fn renew(State(app): State<Arc<App>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Refusal> {
    if let Some(response) = fault(&app) {
        return Ok(response);
    }
    let claims = agent(&headers, &app.keys)?;
    let (session, project) = scope(&claims)?;
    let wish = body(&bytes)?;
    let wants = wanted(&wish)?;
    let rebuild = flag(&wish, "rebuild")?;
    let named = |name: &str, value: &str| wish.get(name).and_then(Value::as_str) == Some(value);
    if !named("session_id", session) || !named("project_id", project) {
        let message = "the token is of another session";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_session", message));
    }
    match app.sessions.verdict(&app, session, project).await? {
        Verdict::Live => {}
        Verdict::Over => return Err(Refusal::new(StatusCode::GONE, "ended", "the session was ended")),
        Verdict::NoRight => {
            let message = "the session's owner has no right to the project any more";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "no_right", message));
        }
    }
    let mut renewed = Map::new();
    if wants.contains(&"token") {
        renewed.insert("realtime_token".into(), json!(app.token_of(session)));
        renewed.insert("token_expires_at".into(), json!(after(app.options.token_lifetime)));
    }
    if wants.contains(&"snapshot") {
        let (url, expires_at) = app.signed_snapshot(&app.snapshot(rebuild).await?.name);
        renewed.insert("snapshot_url".into(), json!(url));
        renewed.insert("snapshot_expires_at".into(), json!(expires_at));
    }
    Ok(answer(renewed))
}

impl App {
    /// A new token for an agent of the project.
    pub fn token_of(&self, session: &str) -> String {
        let project = &self.options.project_id;
        let claims = json!({"role": "preview_agent", "project_id": project, "session_id": session});
        self.keys.sign_for(claims, self.options.token_lifetime)
    }

    /// The snapshot of the state now, made where there is none.
    pub async fn snapshot(self: &Arc<App>, rebuild: bool) -> Result<Built, Refusal> {
        let app = self.clone();
        // Compressing a whole project would hold up everything else.
        let built = tokio::task::spawn_blocking(move || app.snapshot_now(rebuild)).await;
        built.map_err(|error| Refusal::unavailable(&error.to_string()))?.map_err(Refusal::from)
    }

    /// The same, waiting for it.
    pub fn snapshot_now(&self, rebuild: bool) -> Result<Built, SnapshotError> {
        let built =
            self.snapshots.current(&self.store, &self.options.project_id, self.options.snapshot_limit, rebuild)?;
        if let (Some(_), Some(zip), Kind::Postgres(postgres)) =
            (built.made, self.snapshots.get(&built.name), &self.store.0)
        {
            postgres.keep_snapshot(&built.name, zip)?;
        }
        Ok(built)
    }

    /// A signed URL of the snapshot of that name, and when it expires.
    pub fn signed_snapshot(&self, name: &str) -> (String, Option<String>) {
        let lifetime = self.options.snapshot_lifetime;
        let path = signed_path(self, &format!("{SNAPSHOTS}/{name}"), lifetime.as_secs());
        (format!("{}/storage/v1{path}", self.url), after(lifetime))
    }
}

fn fault(app: &App) -> Option<Response> {
    let status = app.faults.roll(|all, random| {
        let fail = all.fail_renewal.as_mut()?;
        fail.chance.strikes(random).then_some(fail.status)
    })?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Refusal::new(status, "fault", "a fault was asked for").into_response();
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
    match now() > claims.expires_at().saturating_add(GRACE) {
        true => Err(Refusal::unauthenticated("the token expired more than 24 hours ago")),
        false => Ok(claims),
    }
}

/// Session and project of an agent's token.
fn scope(claims: &Claims) -> Result<(&str, &str), Refusal> {
    let agents = || Refusal::unauthenticated("an agent's token is needed");
    match (claims.role(), claims.text("session_id"), claims.text("project_id")) {
        ("preview_agent", Some(session), Some(project)) => Ok((session, project)),
        _ => Err(agents()),
    }
}

fn wanted(wish: &Map<String, Value>) -> Result<Vec<&str>, Refusal> {
    let refused = || Refusal::invalid("want is a list of \"token\" and \"snapshot\"");
    let list = wish.get("want").and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(refused)?;
    let known = |one: &'_ Value| matches!(one.as_str(), Some("token" | "snapshot"));
    match list.iter().all(known) {
        true => Ok(list.iter().filter_map(Value::as_str).collect()),
        false => Err(refused()),
    }
}

fn after(lifetime: Duration) -> Option<String> {
    Timestamp::now().checked_add(lifetime).ok().map(|at| at.to_string())
}
