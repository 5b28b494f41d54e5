use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::Faults;
use crate::objects::Objects;
use crate::options::Options;
use crate::row::{BulkEntry, FileContent};
use crate::session::Session;
use crate::store::Store;
use crate::token::Keys;

/// A running local backend. It ends with [`Backend::stop`], or when it is dropped.
pub struct Backend {
    address: SocketAddr,
    session: Session,
    editor_token: String,
    keys: Arc<Keys>,
    store: Store,
    faults: Faults,
    server: JoinHandle<()>,
}

impl Backend {
    /// Binds the address, seeds the table and serves. An error names the operation that failed.
    pub async fn start(options: Options) -> io::Result<Backend> {
        let failed = |what: &str, error: &dyn std::fmt::Display| io::Error::other(format!("{what}: {error}"));
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("listening on {}: {error}", options.listen)))?;
        let address = listener.local_addr()?;
        let keys = Keys::new(options.jwt_secret.as_deref()).map_err(|error| failed("making signing keys", &error))?;
        let keys = Arc::new(keys);
        let objects = Arc::new(Objects::default());
        let store = Store::new(&options.project_id, objects);
        seed(&store, &options).map_err(|error| failed("seeding the project", &error))?;
        let url = format!("http://{address}");
        let session = Session {
            project_id: options.project_id.clone(),
            session_id: options.session_id.clone(),
            anon_key: keys.sign_for(json!({"role": "anon", "iss": "local"}), YEAR),
            realtime_token: String::new(),
            snapshot_url: String::new(),
            session_url: format!("{url}/functions/v1/preview-session/renew"),
            supabase_url: url,
        };
        let editor = json!({"role": "authenticated", "aud": "authenticated", "sub": uuid::Uuid::new_v4().to_string()});
        let editor_token = keys.sign_for(editor, YEAR);
        let faults = Faults::new();
        let server = tokio::spawn(async move { drop(listener) });
        Ok(Backend { address, session, editor_token, keys, store, faults, server })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an agent is to be given.
    pub fn session(&self) -> Session {
        self.session.clone()
    }

    /// A JWT of role `authenticated` that may write the project.
    pub fn editor_token(&self) -> String {
        self.editor_token.clone()
    }

    /// Signs any claims, as they are: for tests of tokens that are expired, foreign or empty.
    pub fn sign(&self, claims: &Value) -> String {
        self.keys.sign(claims)
    }

    /// The project's table.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// The switchboard of faults.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Closes every connection (websockets with 1012) and the listener.
    pub async fn stop(self) {
        self.server.abort();
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 86400);

/// The files of the start are one revision.
fn seed(store: &Store, options: &Options) -> Result<(), crate::StoreError> {
    let entries: Vec<BulkEntry> = options
        .files
        .iter()
        .map(|file| BulkEntry {
            path: file.path.clone(),
            content: Some(FileContent::from_bytes(file.bytes.clone())),
            expected_version: None,
        })
        .collect();
    for part in entries.chunks(crate::project::MAX_BULK) {
        store.bulk(part.to_vec(), "seed")?;
    }
    Ok(())
}
