use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::rights::Rights;
use crate::code::Code;
use crate::postgres::{Call, CallMethod, DatabaseError, Postgres};
use crate::token::Claims;

/// Most live sessions of one user.
const MAX_LIVE: usize = 5;
/// Most sessions that are kept; the oldest ended one is removed first.
const MAX_KEPT: usize = 1000;

/// Preview sessions of the project. The backend's first session is in memory; the others are in memory too or, over a
/// PostgreSQL, in its table, which the Edge Functions share.
pub struct PreviewSessions {
    in_memory: Mutex<Vec<PreviewSession>>,
    rights: Rights,
    database: Option<Postgres>,
}

struct PreviewSession {
    id: String,
    owner: String,
    kind: SessionKind,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// Which session a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// The user's one usual session of the project.
    Usual,
    /// A further one.
    Additional,
}

/// Whether a session's agent gets a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    Live,
    Ended,
    /// Its owner has lost the project.
    NoRight,
}

impl SessionStatus {
    /// Every status.
    pub const ALL: [SessionStatus; 3] = [SessionStatus::Live, SessionStatus::Ended, SessionStatus::NoRight];

    /// The name that the database's function returns.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionStatus::Live => "live",
            SessionStatus::Ended => "ended",
            SessionStatus::NoRight => "no_right",
        }
    }

    /// Every other name counts as ended.
    fn parse(name: Option<&str>) -> SessionStatus {
        let named = SessionStatus::ALL.into_iter().find(|status| Some(status.as_str()) == name);
        named.unwrap_or(SessionStatus::Ended)
    }
}

/// The reason for which a request for a session was refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The caller has no right to the project.
    #[error("no right to this project")]
    NoRight,
    /// The session does not exist or is another user's.
    #[error("session not found")]
    NotFound,
    /// The user has too many live sessions.
    #[error("you have {MAX_LIVE} live sessions already; end one first")]
    TooMany,
    /// The database refused the caller's own request.
    #[error("{0}")]
    Database(DatabaseError),
    /// The database refused a request of the service.
    #[error("the database: {0}")]
    Service(DatabaseError),
}

impl PreviewSessions {
    /// With the backend's first session `id`, which is the editor's.
    pub fn new(id: &str, rights: Rights, database: Option<Postgres>) -> PreviewSessions {
        let first = PreviewSession::new(id.into(), rights.editor().into(), SessionKind::Usual);
        PreviewSessions { in_memory: Mutex::new(vec![first]), rights, database }
    }

    /// The user's live usual session of the project, or a new session.
    pub async fn open(&self, user: &Claims, project: &str, kind: SessionKind) -> Result<Value, SessionError> {
        if project != self.rights.project_id() {
            return Err(SessionError::NoRight);
        }
        if let Some(postgres) = &self.database {
            return open_in_database(postgres, user, project, kind).await;
        }
        if !self.rights.may_write(user) {
            return Err(SessionError::NoRight);
        }
        self.open_in_memory(user.text("sub").unwrap_or_default(), kind)
    }

    fn open_in_memory(&self, owner: &str, kind: SessionKind) -> Result<Value, SessionError> {
        let mut sessions = self.lock();
        let live = |session: &&PreviewSession| session.ended_at.is_none() && session.owner == owner;
        let usual = sessions.iter().filter(live).find(|session| session.kind == SessionKind::Usual);
        if let (SessionKind::Usual, Some(usual)) = (kind, usual) {
            return Ok(usual.to_json(self.rights.project_id()));
        }
        if sessions.iter().filter(live).count() >= MAX_LIVE {
            return Err(SessionError::TooMany);
        }
        if sessions.len() >= MAX_KEPT
            && let Some(ended) = sessions.iter().position(|session| session.ended_at.is_some())
        {
            sessions.remove(ended);
        }
        let session = PreviewSession::new(Uuid::new_v4().to_string(), owner.into(), kind);
        let json = session.to_json(self.rights.project_id());
        sessions.push(session);
        Ok(json)
    }

    /// One session of the user.
    pub async fn get(&self, user: &Claims, id: &str) -> Result<Value, SessionError> {
        match (self.find_in_memory(user, id), &self.database) {
            (Some(session), _) => Ok(session),
            (None, Some(postgres)) => call(postgres, "preview_session", json!({ "session_uuid": id }), user)
                .await
                .map_err(SessionError::Database),
            (None, None) => Err(SessionError::NotFound),
        }
    }

    /// Ends a session of the user. An ended session stays as it is.
    pub async fn end(&self, user: &Claims, id: &str) -> Result<Value, SessionError> {
        if self.find_in_memory(user, id).is_some() {
            for session in self.lock().iter_mut().filter(|session| session.id == id) {
                session.ended_at.get_or_insert_with(Timestamp::now);
            }
            return self.find_in_memory(user, id).ok_or(SessionError::NotFound);
        }
        let Some(postgres) = &self.database else { return Err(SessionError::NotFound) };
        let arguments = json!({ "session_uuid": id });
        let ended = call(postgres, "end_preview_session", arguments.clone(), user).await;
        let mut session = ended.map_err(SessionError::Database)?;
        let gone = call(postgres, "preview_session_gone", arguments, &Claims::service()).await;
        gone.map_err(SessionError::Service)?;
        set_state(&mut session, "ended");
        Ok(session)
    }

    /// The status of a session of this project.
    pub async fn status(&self, id: &str, project: &str) -> Result<SessionStatus, SessionError> {
        if project != self.rights.project_id() {
            return Ok(SessionStatus::Ended);
        }
        if let Some(session) = self.lock().iter().find(|session| session.id == id) {
            return Ok(match session.ended_at {
                Some(_) => SessionStatus::Ended,
                None if self.rights.owns(&session.owner) => SessionStatus::Live,
                None => SessionStatus::NoRight,
            });
        }
        let Some(postgres) = self.database.as_ref().filter(|_| Uuid::parse_str(id).is_ok()) else {
            return Ok(SessionStatus::Ended);
        };
        let arguments = json!({"session_uuid": id, "project_uuid": project});
        let status = call(postgres, "renew_preview_session", arguments, &Claims::service()).await;
        Ok(SessionStatus::parse(status.map_err(SessionError::Service)?.as_str()))
    }

    fn find_in_memory(&self, user: &Claims, id: &str) -> Option<Value> {
        let owner = user.text("sub")?;
        let sessions = self.lock();
        let session = sessions.iter().find(|session| session.id == id && session.owner == owner)?;
        self.rights.owns(owner).then(|| session.to_json(self.rights.project_id()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PreviewSession>> {
        self.in_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PreviewSession {
    fn new(id: String, owner: String, kind: SessionKind) -> PreviewSession {
        PreviewSession { id, owner, kind, created_at: Timestamp::now(), ended_at: None }
    }

    fn to_json(&self, project: &str) -> Value {
        json!({
            "session_id": self.id, "project_id": project, "additional": self.kind == SessionKind::Additional,
            "state": if self.ended_at.is_some() { "ended" } else { "running" },
            "reason": self.ended_at.map(|_| "asked"), "provider": null, "machine_id": null, "preview_url": null,
            "created_at": self.created_at.to_string(), "ended_at": self.ended_at.map(|at| at.to_string()),
        })
    }
}

/// Opens the session with the functions that the Edge Function uses; there is no machine to start.
async fn open_in_database(
    postgres: &Postgres,
    user: &Claims,
    project: &str,
    kind: SessionKind,
) -> Result<Value, SessionError> {
    let arguments = json!({"project_uuid": project, "another": kind == SessionKind::Additional});
    let opened = call(postgres, "open_preview_session", arguments, user).await;
    let mut session = opened.map_err(SessionError::Database)?;
    let start = session.as_object_mut().and_then(|session| {
        session.remove("lease_seconds");
        session.remove("go")
    });
    if start == Some(json!(true)) {
        let id = session.get("session_id").cloned();
        let started = json!({"session_uuid": id, "p_provider": null, "p_machine_id": null, "p_preview_url": null});
        let started = call(postgres, "preview_session_started", started, &Claims::service()).await;
        started.map_err(SessionError::Service)?;
        set_state(&mut session, "running");
    }
    Ok(session)
}

fn set_state(session: &mut Value, state: &str) {
    if let Some(fields) = session.as_object_mut() {
        fields.insert("state".into(), json!(state));
    }
}

async fn call(postgres: &Postgres, name: &str, arguments: Value, claims: &Claims) -> Result<Value, DatabaseError> {
    let call = Call {
        name: name.into(),
        arguments: arguments.as_object().cloned().unwrap_or_default(),
        claims: claims.clone(),
        method: CallMethod::Post,
        headers: Default::default(),
        selection: None,
    };
    Ok(serde_json::from_str(&postgres.call(call).await?).unwrap_or_default())
}

impl SessionError {
    /// Whether the database refused the service's role and not the request: the service is not set up.
    pub fn service_has_no_right(&self) -> bool {
        let SessionError::Service(DatabaseError::Refused { code, .. }) = self else { return false };
        code == Code::NoRight.as_str() || ["0L", "0P", "28"].iter().any(|class| code.starts_with(class))
    }
}
