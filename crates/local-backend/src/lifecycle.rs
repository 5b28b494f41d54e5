use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::agent_settings::AgentSettings;
use crate::faults::{Cut, Faults};
use crate::http::state::{Api, ApiSettings};
use crate::http::{router, server};
use crate::options::{AnonKey, BackendOptions, FaultApi};
use crate::postgres::Postgres;
use crate::realtime::{AgentReports, Realtime, RealtimeSettings, Visibility};
use crate::row::{BulkEntry, FileContent};
use crate::store::event_payload::{EventFormat, EventLimits, event};
use crate::store::memory::{Commit, Memory};
use crate::store::objects::Objects;
use crate::store::policies::Policies;
use crate::store::preview_sessions::PreviewSessions;
use crate::store::project::MAX_BULK;
use crate::store::record::record;
use crate::store::rights::{Ownership, Rights};
use crate::store::snapshots::{SnapshotRequest, Snapshots};
use crate::store::{Store, StoreKind};
use crate::store_error::StoreError;
use crate::token::Keys;

/// The lifetime of the anon key and of the editor's token, longer than every run.
const YEAR: Duration = Duration::from_secs(365 * 86400);
/// How long the sockets may take to close.
const CLOSE_WAIT: Duration = Duration::from_millis(1500);
/// How often open sockets are counted while they close.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// A running local backend. It ends with [`Backend::stop`], or when it is dropped.
pub struct Backend {
    address: SocketAddr,
    api: Arc<Api>,
    session_id: String,
    anon_key: String,
    editor_token: String,
    server: JoinHandle<()>,
}

/// The table, and the owner of its project.
struct OpenedStore {
    store: Store,
    owner: String,
}

impl Backend {
    /// Binds the address, writes the first files and serves.
    ///
    /// # Errors
    /// The address cannot be bound, the database cannot be used, or the files are refused; the text names the operation.
    pub async fn start(options: BackendOptions) -> io::Result<Backend> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen)))?;
        let address = listener.local_addr()?;
        let keys = Keys::new(options.jwt_secret.as_deref(), &options.jwks)
            .map_err(|error| io::Error::other(format!("cannot generate signing keys: {error}")))?;
        let keys = Arc::new(keys);
        let (objects, faults) = (Arc::new(Objects::default()), Faults::new());
        let OpenedStore { store, owner } = open_store(&options, &objects, &faults).await?;
        seed(&store, &options).map_err(|error| io::Error::other(format!("cannot write the first files: {error}")))?;
        let rights = Rights::new(&options.project_id, &owner, options.channel_rights);
        let policies = Arc::new(match &store.0 {
            StoreKind::Memory(_) => Policies::Memory(rights.clone()),
            StoreKind::Postgres(postgres) => Policies::Postgres(postgres.clone()),
        });
        let settings = RealtimeSettings::from(&options);
        let realtime = Arc::new(Realtime::new(settings, keys.clone(), policies.clone(), faults.clone()));
        let database = match &store.0 {
            StoreKind::Memory(memory) => {
                publish(memory, &rights, EventLimits::from(&options), &realtime, &faults);
                None
            }
            StoreKind::Postgres(postgres) => {
                let published = postgres.publish(realtime.hub.clone(), realtime.changes.clone(), faults.clone()).await;
                published.map_err(io::Error::other)?;
                Some(postgres.clone())
            }
        };
        let anon_key = match options.anon_key {
            AnonKey::Publishable => keys.publishable().to_owned(),
            AnonKey::Jwt => keys.sign_for(json!({"role": "anon", "iss": "local"}), YEAR),
        };
        let claims = json!({"role": "authenticated", "aud": "authenticated", "sub": owner});
        let editor_token = keys.sign_for(claims, YEAR);
        let snapshots = Arc::new(Snapshots::new(store.clone(), &options.project_id, options.snapshot_limit));
        let sessions = PreviewSessions::new(&options.session_id, rights.clone(), database);
        let settings = ApiSettings {
            url: format!("http://{address}"),
            token_lifetime: options.token_lifetime,
            snapshot_lifetime: options.snapshot_lifetime,
            page_bytes: options.page_bytes,
            broadcast_limit: options.broadcast_limit,
            jwks: options.jwks,
        };
        let api = Api { settings, keys, rights, policies, store, objects, faults, realtime, snapshots, sessions };
        let api = Arc::new(api);
        let server = tokio::spawn(server::serve(listener, router::router(api.clone(), options.fault_api)));
        Ok(Backend { address, api, session_id: options.session_id, anon_key, editor_token, server })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every route of the API with the faults, to serve at another address as well. The caller decides who reaches it.
    pub fn router(&self) -> axum::Router {
        router::router(self.api.clone(), FaultApi::Served)
    }

    /// The settings of an agent. Each call makes a new token, and a new snapshot if the state has changed. The snapshot's URL
    /// is empty if none could be built, which is logged. Blocks.
    pub fn agent_settings(&self) -> AgentSettings {
        let api = &self.api;
        let snapshot_url = match api.snapshots.current(SnapshotRequest::Reuse) {
            Ok(built) => api.signed_snapshot(&built.name).url,
            Err(error) => {
                tracing::error!(%error, "cannot build the snapshot");
                String::new()
            }
        };
        AgentSettings {
            project_id: api.rights.project_id().to_owned(),
            session_id: self.session_id.clone(),
            supabase_url: self.url(),
            anon_key: self.anon_key.clone(),
            realtime_token: api.agent_token(&self.session_id),
            snapshot_url,
            session_url: format!("{}/functions/v1/preview-session/renew", self.url()),
        }
    }

    /// A JWT of role `authenticated` that may write the project, valid for a year.
    pub fn editor_token(&self) -> String {
        self.editor_token.clone()
    }

    /// Takes the project from its editor, or returns it. For a project in memory: over a PostgreSQL its tables decide.
    pub fn set_ownership(&self, ownership: Ownership) {
        self.api.rights.set_ownership(ownership);
    }

    /// The publishable key, which has the same rights as the anon JWT.
    pub fn publishable_key(&self) -> String {
        self.api.keys.publishable().to_owned()
    }

    /// Signs any claims unchanged, for tests of expired, foreign and empty tokens.
    pub fn sign(&self, claims: &Value) -> String {
        self.api.keys.sign(claims)
    }

    /// Broadcasts any payload on the project's topic, as `realtime.send` does.
    pub fn broadcast(&self, event: &str, payload: Value, visibility: Visibility) {
        let topic = format!("project:{}", self.api.rights.project_id());
        self.api.realtime.hub.send(payload, event, &topic, visibility);
    }

    /// The project's table.
    pub fn store(&self) -> Store {
        self.api.store.clone()
    }

    /// The reports that agents have published.
    pub fn agent_reports(&self) -> AgentReports {
        self.api.realtime.hub.agent_reports.clone()
    }

    /// The faults.
    pub fn faults(&self) -> Faults {
        self.api.faults.clone()
    }

    /// Closes the websockets with 1012, then every connection and the listener.
    pub async fn stop(self) {
        self.api.faults.cut(Cut::Code(1012));
        let closed = async {
            while self.api.realtime.connections() > 0 {
                tokio::time::sleep(CLOSE_POLL).await;
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, closed).await.is_err() {
            tracing::debug!("a websocket did not close in time");
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.api.faults.cut(Cut::Abruptly);
        self.server.abort();
    }
}

async fn open_store(options: &BackendOptions, objects: &Arc<Objects>, faults: &Faults) -> io::Result<OpenedStore> {
    match &options.database_url {
        None => {
            let memory = Memory::new(&options.project_id, objects.clone(), faults.clone());
            Ok(OpenedStore { store: Store(StoreKind::Memory(memory)), owner: uuid::Uuid::new_v4().to_string() })
        }
        Some(url) => {
            let opened = Postgres::open(url.clone(), &options.project_id).await;
            let (postgres, owner) = opened.map_err(io::Error::other)?;
            Ok(OpenedStore { store: Store(StoreKind::Postgres(postgres)), owner })
        }
    }
}

/// Writes the first files as one revision, or one for each 10,000.
fn seed(store: &Store, options: &BackendOptions) -> Result<(), StoreError> {
    for part in options.files.chunks(MAX_BULK) {
        let entries = part.iter().map(|file| BulkEntry {
            path: file.path.clone(),
            content: Some(FileContent::from_bytes(file.bytes.clone())),
            expected_version: None,
        });
        let entries: Vec<BulkEntry> = entries.collect();
        while let Err(error) = store.bulk(entries.clone(), "seed") {
            match error {
                StoreError::TooManyWrites { retry_after_ms } => {
                    std::thread::sleep(Duration::from_millis(retry_after_ms));
                }
                error => return Err(error),
            }
        }
    }
    Ok(())
}

/// Sends each commit as a broadcast and as rows.
fn publish(memory: &Memory, rights: &Rights, limits: EventLimits, realtime: &Realtime, faults: &Faults) {
    let (hub, changes, faults, rights) =
        (realtime.hub.clone(), realtime.changes.clone(), faults.clone(), rights.clone());
    let topic = format!("project:{}", rights.project_id());
    memory.on_commit(Box::new(move |commit: &Commit| {
        let (legacy, stalled) = faults.roll(|all, _| (all.legacy_database, all.stall_streams));
        let event = event(commit, limits, if legacy { EventFormat::Legacy } else { EventFormat::Current });
        hub.send(event.payload, event.name, &topic, Visibility::Private);
        if stalled {
            return;
        }
        for row in &commit.rows {
            changes.inserted(&commit.at.to_string(), || record(row, &rights));
        }
    }));
}

impl From<&BackendOptions> for RealtimeSettings {
    fn from(options: &BackendOptions) -> RealtimeSettings {
        RealtimeSettings {
            refusal_delay: options.refusal_delay,
            join_refusal_delay: options.join_refusal_delay,
            silence_limit: options.silence_limit,
            stream_gap: options.stream_gap,
            replication_timeout: options.replication_timeout,
            postgres_changes_delay: options.postgres_changes_delay,
            broadcast_limit: options.broadcast_limit,
            frame_limit: options.frame_limit,
            queue_bytes: options.queue_bytes,
            max_connections: options.max_connections,
        }
    }
}

impl From<&BackendOptions> for EventLimits {
    fn from(options: &BackendOptions) -> EventLimits {
        EventLimits { max_bytes: options.event_max_bytes, content_bytes: options.event_content_bytes }
    }
}
