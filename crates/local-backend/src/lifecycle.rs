use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::{Cut, Faults};
use crate::http::rpc::writes;
use crate::http::server::{self, App};
use crate::options::Options;
use crate::postgres::Postgres;
use crate::realtime::{Agents, Realtime};
use crate::row::{BulkEntry, FileContent};
use crate::session::Session;
use crate::store::event_payload as event;
use crate::store::memory::{Commit, Memory};
use crate::store::objects::Objects;
use crate::store::policies::Policies;
use crate::store::preview_sessions::Sessions;
use crate::store::project::MAX_BULK;
use crate::store::rights::Rights;
use crate::store::snapshots::Snapshots;
use crate::store::{Kind, Store};
use crate::store_error::StoreError;
use crate::token::Keys;

/// The anon key and the editor's token outlive every run.
const YEAR: Duration = Duration::from_secs(365 * 86400);
/// How long the sockets may take to be told goodbye.
const GOODBYE: Duration = Duration::from_millis(1500);

/// A running local backend. It ends with [`Backend::stop`], or when it is dropped.
pub struct Backend {
    address: SocketAddr,
    app: Arc<App>,
    editor_token: String,
    server: JoinHandle<()>,
}

impl Backend {
    /// Binds the address, seeds the table and serves. An error names the operation that failed.
    pub async fn start(options: Options) -> io::Result<Backend> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("listening on {}: {error}", options.listen)))?;
        let address = listener.local_addr()?;
        let keys = Keys::new(options.jwt_secret.as_deref(), &options.jwks)
            .map_err(|error| io::Error::other(format!("making signing keys: {error}")))?;
        let keys = Arc::new(keys);
        let objects = Arc::new(Objects::default());
        let (store, editor) = match &options.database_url {
            None => {
                let memory = Memory::new(&options.project_id, objects.clone());
                (Store(Kind::Memory(memory)), uuid::Uuid::new_v4().to_string())
            }
            Some(url) => {
                let opened = Postgres::open(url.clone(), &options.project_id).await;
                let (postgres, owner) = opened.map_err(io::Error::other)?;
                (Store(Kind::Postgres(postgres)), owner)
            }
        };
        seed(&store, &options).map_err(|error| io::Error::other(format!("seeding the project: {error}")))?;

        let claims = json!({"role": "authenticated", "aud": "authenticated", "sub": editor});
        let editor_token = keys.sign_for(claims, YEAR);
        let rights = Rights { project_id: options.project_id.clone(), editor, lost: Arc::default() };
        let faults = Faults::new();
        let policies = match &store.0 {
            Kind::Memory(_) => Policies::Memory(rights.clone()),
            Kind::Postgres(postgres) => Policies::Postgres(postgres.clone()),
        };
        let realtime = Arc::new(Realtime::new(&options, keys.clone(), policies.clone(), faults.clone()));
        match &store.0 {
            Kind::Memory(memory) => publish(memory, &rights, options.event_limit, &realtime, &faults),
            Kind::Postgres(postgres) => {
                postgres.publish(&realtime, faults.clone()).await.map_err(io::Error::other)?;
            }
        }

        let url = format!("http://{address}");
        let anon_key = match options.publishable_key {
            true => keys.publishable().to_owned(),
            false => keys.sign_for(json!({"role": "anon", "iss": "local"}), YEAR),
        };
        let snapshots = Snapshots::default();
        let sessions = Sessions::new(&options.session_id, &rights.editor);
        let app = Arc::new(App {
            options,
            url,
            keys,
            rights,
            policies,
            store,
            objects,
            faults,
            realtime,
            snapshots,
            sessions,
            anon_key,
        });
        let server = tokio::spawn(server::serve(listener, server::router(app.clone(), app.options.faults_over_http)));
        Ok(Backend { address, app, editor_token, server })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every place of the API and the switchboard of faults, to be served at another address as well. Who may come there
    /// is that address's matter.
    pub fn router(&self) -> axum::Router {
        server::router(self.app.clone(), true)
    }

    /// What an agent is to be given: each call makes a new token, and a new snapshot where the state has moved. The
    /// snapshot's URL is empty where none could be made; the log says why.
    pub fn session(&self) -> Session {
        let app = &self.app;
        let snapshot_url = match app.snapshot_now(false) {
            Ok(built) => app.signed_snapshot(&built.name).0,
            Err(error) => {
                tracing::error!(%error, "the snapshot could not be made");
                String::new()
            }
        };
        Session {
            project_id: app.options.project_id.clone(),
            session_id: app.options.session_id.clone(),
            supabase_url: self.url(),
            anon_key: app.anon_key.clone(),
            realtime_token: app.token_of(&app.options.session_id),
            snapshot_url,
            session_url: format!("{}/functions/v1/preview-session/renew", self.url()),
        }
    }

    /// A JWT of role `authenticated` that may write the project, valid for a year.
    pub fn editor_token(&self) -> String {
        self.editor_token.clone()
    }

    /// Takes the project from its editor, or gives it back: for tests of what becomes of a session then. For the
    /// project in memory; over PostgreSQL its tables say who may.
    pub fn take_from_editor(&self, taken: bool) {
        self.app.rights.lost.store(taken, std::sync::atomic::Ordering::Relaxed);
    }

    /// The key of the newer kind, which does what the anon JWT does.
    pub fn publishable_key(&self) -> String {
        self.app.keys.publishable().to_owned()
    }

    /// Signs any claims, as they are: for tests of tokens that are expired, foreign or empty.
    pub fn sign(&self, claims: &Value) -> String {
        self.app.keys.sign(claims)
    }

    /// Broadcasts anything on the project's topic, as `realtime.send` would: for tests of what other senders send.
    pub fn broadcast(&self, event: &str, payload: Value, private: bool) {
        let topic = format!("project:{}", self.app.options.project_id);
        self.app.realtime.hub.send(payload, event, &topic, private);
    }

    /// The project's table.
    pub fn store(&self) -> Store {
        self.app.store.clone()
    }

    /// What agents have told of themselves, where they publish it.
    pub fn agents(&self) -> Agents {
        self.app.realtime.hub.agents.clone()
    }

    /// The switchboard of faults.
    pub fn faults(&self) -> Faults {
        self.app.faults.clone()
    }

    /// Closes every connection (websockets with 1012) and the listener.
    pub async fn stop(self) {
        self.app.faults.cut(Cut::Code(1012));
        // Until the sockets are gone: they go on being served while they say goodbye.
        let gone = async {
            while self.app.realtime.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(GOODBYE, gone).await.is_err() {
            tracing::debug!("a websocket did not say goodbye");
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.app.faults.cut(Cut::Abruptly);
        self.server.abort();
    }
}

/// The files of the start are one revision, or one for each 10,000.
fn seed(store: &Store, options: &Options) -> Result<(), StoreError> {
    for part in options.files.chunks(MAX_BULK) {
        let entries = part.iter().map(|file| BulkEntry {
            path: file.path.clone(),
            content: Some(FileContent::from_bytes(file.bytes.clone())),
            expected_version: None,
        });
        let entries: Vec<BulkEntry> = entries.collect();
        while let Err(error) = store.bulk(entries.clone(), "seed") {
            match error {
                StoreError::TooMany { retry_after_ms } => std::thread::sleep(Duration::from_millis(retry_after_ms)),
                error => return Err(error),
            }
        }
    }
    Ok(())
}

/// Lets each commit leave as a broadcast and as rows.
fn publish(memory: &Memory, rights: &Rights, limit: usize, realtime: &Arc<Realtime>, faults: &Faults) {
    let (realtime, faults, rights) = (realtime.clone(), faults.clone(), rights.clone());
    let topic = format!("project:{}", rights.project_id);
    memory.on_commit(Box::new(move |commit: &Commit| {
        let older = faults.roll(|all, _| all.older_database);
        let (name, payload) = event::broadcast(commit, limit, older);
        realtime.hub.send(payload, name, &topic, true);
        if faults.roll(|all, _| all.deaf) {
            return;
        }
        for row in &commit.rows {
            realtime.changes.inserted(&commit.at.to_string(), || writes::record(row, &rights));
        }
    }));
}
