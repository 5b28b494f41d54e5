use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::edge_functions::Refusal;
use crate::http::postgrest::ApiError;
use crate::http::server::App;
use crate::postgres::{Call, Postgres};
use crate::store::Kind;
use crate::token::Claims;

/// Sessions of one person that are live at a time.
const MAX_LIVE: usize = 5;
/// All that are remembered; the oldest that are over go first.
const MAX_KEPT: usize = 1000;

/// Preview sessions. The one that the backend was started with is its own; the others are in memory as well or, over a
/// PostgreSQL, in its table, which the Edge Functions share.
pub struct Sessions(Mutex<Vec<Session>>);

struct Session {
    id: String,
    owner: String,
    additional: bool,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// Whether a session's agent is given a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Live,
    Over,
    /// Its owner has lost the project.
    NoRight,
}

impl Sessions {
    /// With the backend's own session, which is the editor's.
    pub fn new(id: &str, editor: &str) -> Sessions {
        let own = Session {
            id: id.into(),
            owner: editor.into(),
            additional: false,
            created_at: Timestamp::now(),
            ended_at: None,
        };
        Sessions(Mutex::new(vec![own]))
    }

    /// The person's live session of the project, or a new one; a further one where `another` is asked for.
    pub async fn open(&self, app: &App, person: &Claims, project: &str, another: bool) -> Result<Value, Refusal> {
        // Only that one has its files here.
        if project != app.options.project_id {
            return Err(ApiError::no_right(person, "this project").into());
        }
        if let Kind::Postgres(postgres) = &app.store.0 {
            let arguments = json!({"project_uuid": project, "another": another});
            let mut session = call(postgres, "open_preview_session", arguments, person).await?;
            let go = session.as_object_mut().and_then(|session| {
                session.remove("lease_seconds");
                session.remove("go")
            });
            if go == Some(json!(true)) {
                let id = session["session_id"].clone();
                let started =
                    json!({"session_uuid": id, "p_provider": null, "p_machine_id": null, "p_preview_url": null});
                call(postgres, "preview_session_started", started, &Claims::service()).await?;
                session["state"] = json!("running");
            }
            return Ok(session);
        }
        if !app.rights.may_write(person) {
            return Err(ApiError::no_right(person, "this project").into());
        }
        let owner = person.text("sub").unwrap_or_default();
        let mut sessions = self.lock();
        let live = |session: &&Session| session.ended_at.is_none() && session.owner == owner;
        if let Some(usual) = sessions.iter().filter(live).find(|session| !session.additional && !another) {
            return Ok(usual.to_json(project));
        }
        if sessions.iter().filter(live).count() >= MAX_LIVE {
            let message = "five sessions of yours are running: end one first";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "PT429", message));
        }
        if sessions.len() >= MAX_KEPT
            && let Some(over) = sessions.iter().position(|session| session.ended_at.is_some())
        {
            sessions.remove(over);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let made =
            Session { id, owner: owner.into(), additional: another, created_at: Timestamp::now(), ended_at: None };
        let json = made.to_json(project);
        sessions.push(made);
        Ok(json)
    }

    /// A session of the person's own.
    pub async fn look(&self, app: &App, person: &Claims, id: &str) -> Result<Value, Refusal> {
        match (self.own(app, person, id), &app.store.0) {
            (Some(session), _) => Ok(session),
            (None, Kind::Postgres(postgres)) => {
                call(postgres, "preview_session", json!({ "session_uuid": id }), person).await
            }
            (None, Kind::Memory(_)) => Err(unknown()),
        }
    }

    /// Over from now on. Ended again, it stays as it is.
    pub async fn end(&self, app: &App, person: &Claims, id: &str) -> Result<Value, Refusal> {
        match (self.own(app, person, id), &app.store.0) {
            (Some(_), _) => {
                for session in self.lock().iter_mut().filter(|session| session.id == id) {
                    session.ended_at.get_or_insert_with(Timestamp::now);
                }
                self.own(app, person, id).ok_or_else(unknown)
            }
            (None, Kind::Postgres(postgres)) => {
                let mut session = call(postgres, "end_preview_session", json!({ "session_uuid": id }), person).await?;
                call(postgres, "preview_session_gone", json!({ "session_uuid": id }), &Claims::service()).await?;
                session["state"] = json!("ended");
                Ok(session)
            }
            (None, Kind::Memory(_)) => Err(unknown()),
        }
    }

    /// Whether the session of that project is live.
    pub async fn verdict(&self, app: &App, id: &str, project: &str) -> Result<Verdict, Refusal> {
        if project != app.options.project_id {
            return Ok(Verdict::Over);
        }
        if let Some(session) = self.lock().iter().find(|session| session.id == id) {
            return Ok(match session.ended_at {
                Some(_) => Verdict::Over,
                None if app.rights.owns(&session.owner) => Verdict::Live,
                None => Verdict::NoRight,
            });
        }
        let Kind::Postgres(postgres) = &app.store.0 else { return Ok(Verdict::Over) };
        if uuid::Uuid::parse_str(id).is_err() {
            return Ok(Verdict::Over);
        }
        let arguments = json!({"session_uuid": id, "project_uuid": project});
        let verdict = call(postgres, "renew_preview_session", arguments, &Claims::service()).await?;
        Ok(match verdict.as_str() {
            Some("live") => Verdict::Live,
            Some("no_right") => Verdict::NoRight,
            _ => Verdict::Over,
        })
    }

    /// One that is kept here, where it is the person's.
    fn own(&self, app: &App, person: &Claims, id: &str) -> Option<Value> {
        let owner = person.text("sub")?;
        let sessions = self.lock();
        let session = sessions.iter().find(|session| session.id == id && session.owner == owner)?;
        app.rights.owns(owner).then(|| session.to_json(&app.options.project_id))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn to_json(&self, project: &str) -> Value {
        json!({
            "session_id": self.id, "project_id": project, "additional": self.additional,
            "state": if self.ended_at.is_some() { "ended" } else { "running" },
            "reason": self.ended_at.map(|_| "asked"), "provider": null, "machine_id": null, "preview_url": null,
            "created_at": self.created_at.to_string(), "ended_at": self.ended_at.map(|at| at.to_string()),
        })
    }
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "PT404", "no such session")
}

async fn call(postgres: &Postgres, name: &str, arguments: Value, claims: &Claims) -> Result<Value, Refusal> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let call = Call {
        name: name.into(),
        arguments,
        claims: claims.clone(),
        get: false,
        headers: Default::default(),
        listing: None,
    };
    let answer = postgres.call(call).await.map_err(|error| match claims.role() {
        // Whoever asked us has not lost their right where ours is refused.
        "service_role" if refuses_caller(&error) => Refusal::unavailable(&format!("the database: {}", error.message)),
        _ => error.into(),
    })?;
    Ok(serde_json::from_str(&answer).unwrap_or_default())
}

/// Whether the database says no to the role, not to what is asked for.
fn refuses_caller(error: &ApiError) -> bool {
    error.code.as_deref() == Some("42501")
        || error.status == StatusCode::UNAUTHORIZED
        || error.status == StatusCode::FORBIDDEN && !error.code.as_deref().is_some_and(|code| code.starts_with("PT"))
}
