//! The project in a PostgreSQL: every function runs there, and events come from its log. All connections run on one
//! dedicated thread, so that callers with and without a runtime can wait for an answer.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

mod call;
mod catalog;
mod connections;
mod error;
mod events;
mod install;
mod objects;
pub(crate) mod pgoutput;
mod project;
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
use crate::realtime::{Changes, Hub};
use crate::row::{CHANGES_KEPT, Change};
use crate::store_error::StoreError;
use crate::token::Claims;

use catalog::Catalog;
use connections::Connections;
use events::{Events, PUBLICATIONS};
use stream::Stream;

pub use call::{Call, CallMethod, RowSelection};
pub use catalog::literal;
pub use error::DatabaseError;
pub use install::InstallError;
pub use objects::{Overwrite, Upload, UploadError};
pub use rows::{Filter, Returning, Rows, RowsRequest};
pub use topics::{Extension, TopicRight};

/// Most API requests at a time: the size of PostgREST's pool on the hosted service.
const MAX_CALLERS: usize = 20;
/// Most connections for the backend's own statements.
const MAX_OWN: usize = 5;
/// The time limits of the hosted service, for a statement and for a lock.
const LIMITS: &str = "set statement_timeout = '8s'; set lock_timeout = '8s'";

/// A handle to the thread, which ends with the last handle.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    runtime: Handle,
    shared: Arc<Shared>,
    /// The thread ends when this is dropped.
    _end: oneshot::Sender<()>,
}

/// The state of the thread.
pub struct Shared {
    url: DatabaseUrl,
    project_id: String,
    /// Connections as the role `authenticator`.
    callers: Connections,
    /// Connections as the user of the database URL.
    own: Connections,
    catalog: Catalog,
    changes: broadcast::Sender<Change>,
    /// The newest revision that was sent to `changes`.
    known: AtomicU64,
}

impl Postgres {
    /// Connects, installs missing parts, and creates the project if it does not exist. Returns the handle and the
    /// project's owner.
    pub async fn open(url: DatabaseUrl, project_id: &str) -> Result<(Postgres, String), InstallError> {
        let (end, ended) = oneshot::channel::<()>();
        let (ready, handle) = oneshot::channel();
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            if ready.send(Ok(runtime.handle().clone())).is_ok() {
                // Nothing is sent: an error is the normal end.
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
            // A superuser can take the session of `authenticator` without its password.
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

    /// Sends every commit from now on to the channels.
    pub async fn publish(&self, hub: Arc<Hub>, subscribers: Arc<Changes>, faults: Faults) -> Result<(), InstallError> {
        let shared = self.shared();
        let events = Events { shared: shared.clone(), hub, subscribers, faults };
        let started = self.0.runtime.spawn(async move {
            let stream = shared.stream().await?;
            tokio::spawn(events.run(stream));
            Ok(())
        });
        started.await.map_err(std::io::Error::other).and_then(|started| started).map_err(InstallError::Stream)
    }

    /// Runs a function of the database for a caller. Returns its JSON.
    pub async fn call(&self, call: Call) -> Result<String, DatabaseError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.call(call).await }).await.map_err(thread_ended)?
    }

    /// Reads or writes rows of a table for a caller. Returns their JSON.
    pub async fn rows(&self, request: RowsRequest) -> Result<String, DatabaseError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.rows(request).await }).await.map_err(thread_ended)?
    }

    /// The names of all arguments of the functions with this name.
    pub fn arguments(&self, function: &str) -> std::collections::HashSet<String> {
        self.0.shared.catalog.arguments(function)
    }

    /// Whether a policy gives the caller this right on a topic.
    pub async fn may(&self, claims: &Claims, topic: &str, right: TopicRight, extension: Extension) -> bool {
        let (shared, claims, topic) = (self.shared(), claims.clone(), topic.to_owned());
        self.0.runtime.spawn(async move { shared.may(&claims, &topic, right, extension).await }).await.unwrap_or(false)
    }

    /// Receives every transaction that changes the project from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.shared.changes.subscribe()
    }

    fn shared(&self) -> Arc<Shared> {
        self.0.shared.clone()
    }

    /// Blocks until the thread has done `work`. Must not be called on the thread itself.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.0.runtime.spawn(async move {
            // An error says that the caller has stopped waiting.
            let _ended = sender.send(work.await);
        });
        receiver.recv().map_err(|_| StoreError::Unreachable { message: "its thread has ended".into() })
    }
}

fn thread_ended(error: tokio::task::JoinError) -> DatabaseError {
    DatabaseError::Unreachable(error.to_string())
}

impl Shared {
    async fn stream(&self) -> std::io::Result<Stream> {
        Stream::start(self.url.config(), &PUBLICATIONS).await
    }
}
