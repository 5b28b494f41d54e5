//! `POST /functions/v1/preview-session/renew`, the contract's section 6.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, json};

use crate::server::App;
use crate::snapshots::SnapshotError;
use crate::storage::{SNAPSHOTS, signed_path};
use crate::token::{Claims, now};

/// How long after its end a token of a live session still renews.
const GRACE: u64 = 24 * 3600;

#[derive(Deserialize)]
pub struct Wish {
    session_id: String,
    project_id: String,
    want: Vec<Wanted>,
    #[serde(default)]
    rebuild: bool,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Token,
    Snapshot,
}

/// 401 for a token that is none or too old, 403 for one of another session, 410 by a fault only: the session never ends.
pub async fn renew(State(app): State<Arc<App>>, headers: HeaderMap, Json(wish): Json<Wish>) -> Response {
    let fault = app.faults.roll(|all, random| {
        let fail = all.fail_renewal.as_mut()?;
        fail.chance.strikes(random).then_some(fail.status)
    });
    if let Some(status) = fault {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = refusal(status, "a fault was asked for");
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        return response;
    }
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let claims = match token.map(|token| app.keys.verify(token)) {
        Some(Ok(claims)) => claims,
        Some(Err(error)) => return refusal(StatusCode::UNAUTHORIZED, &error.to_string()),
        None => return refusal(StatusCode::UNAUTHORIZED, "no token"),
    };
    if now() > claims.expires_at().saturating_add(GRACE) {
        return refusal(StatusCode::UNAUTHORIZED, "the token expired more than 24 hours ago");
    }
    if !is_of_session(&app, &claims, &wish) {
        return refusal(StatusCode::FORBIDDEN, "the token is of another session");
    }
    let mut answer = Map::new();
    if wish.want.contains(&Wanted::Token) {
        answer.insert("realtime_token".into(), json!(app.agent_token()));
        answer.insert("token_expires_at".into(), json!(after(app.options.token_lifetime)));
    }
    if wish.want.contains(&Wanted::Snapshot) {
        let builder = app.clone();
        // Compressing a whole project would hold up everything else.
        let built = tokio::task::spawn_blocking(move || builder.snapshot_url(wish.rebuild)).await;
        match built {
            Ok(Ok(url)) => answer.insert("snapshot_url".into(), json!(url)),
            Ok(Err(error)) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
        answer.insert("snapshot_expires_at".into(), json!(after(app.options.snapshot_lifetime)));
    }
    Json(answer).into_response()
}

impl App {
    /// A new token for the session's agent.
    pub fn agent_token(&self) -> String {
        let claims = json!({
            "role": "preview_agent", "project_id": self.options.project_id, "session_id": self.options.session_id,
        });
        self.keys.sign_for(claims, self.options.token_lifetime)
    }

    /// A new signed URL of the state now.
    pub fn snapshot_url(&self, rebuild: bool) -> Result<String, SnapshotError> {
        let name = self.snapshots.current(&self.store, &self.options.project_id, rebuild)?;
        let path = signed_path(self, &format!("{SNAPSHOTS}/{name}"), self.options.snapshot_lifetime.as_secs());
        Ok(format!("{}/storage/v1{path}", self.url))
    }
}

fn is_of_session(app: &App, claims: &Claims, wish: &Wish) -> bool {
    let (session, project) = (&app.options.session_id, &app.options.project_id);
    claims.role() == "preview_agent"
        && claims.text("session_id") == Some(session)
        && claims.text("project_id") == Some(project)
        && wish.session_id == *session
        && wish.project_id == *project
}

fn after(lifetime: std::time::Duration) -> Option<String> {
    Timestamp::now().checked_add(lifetime).ok().map(|at| at.to_string())
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
