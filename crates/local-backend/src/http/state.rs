use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::object_name::SNAPSHOTS;
use crate::realtime::{ChannelPolicies, Realtime};
use crate::store::Store;
use crate::store::objects::Objects;
use crate::store::preview_sessions::PreviewSessions;
use crate::store::rights::Rights;
use crate::store::snapshots::{Built, SnapshotError, SnapshotRequest, Snapshots};
use crate::token::{Keys, now};

/// The settings of the HTTP API.
pub struct ApiSettings {
    /// `http://ADDRESS:PORT` of the backend's own listener.
    pub url: String,
    pub token_lifetime: Duration,
    pub snapshot_lifetime: Duration,
    /// A page of changes ends at the first revision boundary after this many bytes of content.
    pub page_bytes: usize,
    /// Largest payload of a broadcast in bytes.
    pub broadcast_limit: usize,
    /// Public keys that may sign tokens.
    pub jwks: Vec<Value>,
}

/// The state that all requests share.
pub struct Api {
    pub settings: ApiSettings,
    pub keys: Arc<Keys>,
    pub rights: Rights,
    pub policies: Arc<dyn ChannelPolicies>,
    pub store: Store,
    pub objects: Arc<Objects>,
    pub faults: Faults,
    pub realtime: Arc<Realtime>,
    pub snapshots: Arc<Snapshots>,
    pub sessions: PreviewSessions,
}

/// A signed URL and its end.
pub struct SignedUrl {
    pub url: String,
    pub expires_at: Option<String>,
}

impl Api {
    /// A new token for the agent of a session.
    pub fn agent_token(&self, session: &str) -> String {
        let claims = json!({"role": "preview_agent", "project_id": self.rights.project_id(), "session_id": session});
        self.keys.sign_for(claims, self.settings.token_lifetime)
    }

    /// The snapshot of the current state, built off the runtime if it does not exist.
    ///
    /// # Errors
    /// As [`Snapshots::current`]; `None` if its thread failed.
    pub async fn snapshot(&self, request: SnapshotRequest) -> Result<Built, Option<SnapshotError>> {
        let snapshots = self.snapshots.clone();
        match tokio::task::spawn_blocking(move || snapshots.current(request)).await {
            Ok(built) => built.map_err(Some),
            Err(error) => {
                tracing::error!(%error, "the thread that builds a snapshot failed");
                Err(None)
            }
        }
    }

    /// A signed URL of the snapshot with this name.
    pub fn signed_snapshot(&self, name: &str) -> SignedUrl {
        let lifetime = self.settings.snapshot_lifetime;
        let path = self.signed_path(&format!("{SNAPSHOTS}/{name}"), lifetime.as_secs());
        SignedUrl { url: format!("{}/storage/v1{path}", self.settings.url), expires_at: time_after(lifetime) }
    }

    /// Path and query, below `/storage/v1`, with which every client may read the object for this many seconds.
    pub fn signed_path(&self, object: &str, seconds: u64) -> String {
        let now = now();
        let claims = json!({"role": "storage", "url": object, "iat": now, "exp": now.saturating_add(seconds)});
        format!("/object/sign/{object}?token={}", self.keys.sign(&claims))
    }
}

/// The time at which a lifetime that starts now ends, RFC 3339.
pub fn time_after(lifetime: Duration) -> Option<String> {
    Timestamp::now().checked_add(lifetime).ok().map(|at| at.to_string())
}
