//! The project in a PostgreSQL: every function runs there, and events come out of its log. Everything that speaks with
//! it lives on a thread of its own, so that it can be waited for from anywhere.

mod call;
mod catalog;
mod connections;
mod events;
mod install;
mod objects;
pub(crate) mod pgoutput;
mod project;
mod refusal;
mod rows;
mod stream;
mod table;
mod topics;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot};

use crate::DatabaseUrl;
use crate::faults::Faults;
use crate::http::postgrest::ApiError;
use crate::realtime::Realtime;
use crate::row::Change;
use crate::store::memory::CHANGES_KEPT;
use crate::store_error::StoreError;
use crate::token::Claims;

use catalog::Catalog;
use connections::Connections;
use events::{Events, PUBLICATIONS};
use stream::Stream;

pub use call::Call;
pub use catalog::literal;
pub use install::InstallError;
pub use objects::{Upload, UploadError};
pub use rows::{Filter, Rows, RowsRequest};
pub use topics::TopicRight;

/// Requests of the API that run at a time, as many as PostgREST's pool has on hosted.
const MAX_CALLERS: usize = 20;
/// Connections of the backend itself.
const MAX_OWN: usize = 5;
/// Hosted's limits of time: for a statement, and for the wait for a lock.
const LIMITS: &str = "set statement_timeout = '8s'; set lock_timeout = '8s'";

/// A handle on the thread. It ends with the last one.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    runtime: Handle,
    shared: Arc<Shared>,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

/// What lives on the thread.
pub struct Shared {
    url: DatabaseUrl,
    project_id: String,
    /// As `authenticator`.
    callers: Connections,
    /// As the address says.
    own: Connections,
    catalog: Catalog,
    changes: broadcast::Sender<Change>,
    /// The newest revision that `changes` was told of.
    known: AtomicU64,
}

impl Postgres {
    /// Connects, installs what is missing, and makes the project where it is not there. Gives the handle and the
    /// project's owner.
    pub async fn open(url: DatabaseUrl, project_id: &str) -> Result<(Postgres, String), InstallError> {
        let (end, ended) = oneshot::channel::<()>();
        let (ready, handle) = oneshot::channel();
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                // Who waits for the handle hears of it.
                Err(error) => return drop(ready.send(Err(error))),
            };
            if ready.send(Ok(runtime.handle().clone())).is_ok() {
                // Ends by an error: nothing is ever sent.
                let _ended = runtime.block_on(ended);
            }
        });
        let failed = InstallError::Stream;
        thread.map_err(failed)?;
        let runtime = handle.await.map_err(|_| failed(std::io::ErrorKind::BrokenPipe.into()))?.map_err(failed)?;
        let project_id = project_id.to_owned();
        let opened = runtime.spawn(async move {
            let own = Connections::new(url.config(), LIMITS, MAX_OWN);
            let connection = own.take().await.map_err(InstallError::Connect)?;
            connection.client().batch_execute("set statement_timeout = 0").await.map_err(InstallError::Connect)?;
            let rights = install::install(connection.client()).await?;
            let owner = project::ensure(connection.client(), &project_id).await?;
            let catalog = Catalog::read(connection.client()).await.map_err(InstallError::Connect)?;
            connection.client().batch_execute(LIMITS).await.map_err(InstallError::Connect)?;
            connection.give_back();
            // A superuser becomes `authenticator` as if it had signed in, without needing its password.
            let become_authenticator = match rights.superuser {
                true => format!("{LIMITS}; set session authorization authenticator"),
                false => format!("{LIMITS}; set role authenticator"),
            };
            let callers = Connections::new(url.config(), &become_authenticator, MAX_CALLERS);
            let changes = broadcast::Sender::new(CHANGES_KEPT);
            let known = AtomicU64::new(0);
            Ok((Shared { url, project_id, callers, own, catalog, changes, known }, owner))
        });
        let (shared, owner) = opened.await.map_err(|error| failed(std::io::Error::other(error)))??;
        Ok((Postgres(Arc::new(Inner { runtime, shared: Arc::new(shared), _end: end })), owner))
    }

    /// From now on what is committed goes to the channels.
    pub async fn publish(&self, realtime: &Realtime, faults: Faults) -> Result<(), InstallError> {
        let shared = self.shared();
        let events =
            Events { shared: shared.clone(), hub: realtime.hub.clone(), subscribers: realtime.changes.clone(), faults };
        let started = self.0.runtime.spawn(async move {
            let stream = shared.stream().await?;
            tokio::spawn(events.run(stream));
            Ok(())
        });
        started.await.map_err(std::io::Error::other).and_then(|started| started).map_err(InstallError::Stream)
    }

    /// Runs a function of the database for a caller; its JSON.
    pub async fn call(&self, call: Call) -> Result<String, ApiError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.call(call).await }).await.map_err(gone)?
    }

    /// Reads or writes rows of a table for a caller; their JSON.
    pub async fn rows(&self, request: RowsRequest) -> Result<String, ApiError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.rows(request).await }).await.map_err(gone)?
    }

    /// The names of the arguments that a function may have.
    pub fn arguments(&self, function: &str) -> std::collections::HashSet<String> {
        self.0.shared.catalog.arguments(function)
    }

    /// Whether a policy lets the caller read a topic, or send on it.
    pub async fn may(&self, claims: &Claims, topic: &str, right: TopicRight) -> bool {
        let (shared, claims, topic) = (self.shared(), claims.clone(), topic.to_owned());
        self.0.runtime.spawn(async move { shared.may(&claims, &topic, right).await }).await.unwrap_or(false)
    }

    /// Every transaction that changes the project, from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.shared.changes.subscribe()
    }

    fn shared(&self) -> Arc<Shared> {
        self.0.shared.clone()
    }

    /// Waits for what the thread does, on any other.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.0.runtime.spawn(async move {
            // Nobody waits any more where the caller is gone.
            let _gone = sender.send(work.await);
        });
        receiver.recv().map_err(|_| StoreError::Unreachable { message: "its thread has ended".into() })
    }
}

fn gone(_: tokio::task::JoinError) -> ApiError {
    ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "PGRST001", "Database client error")
}

impl Shared {
    async fn stream(&self) -> std::io::Result<Stream> {
        Stream::start(self.url.config(), &PUBLICATIONS).await
    }
}
