use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

/// Statements that a connection keeps prepared.
const MAX_STATEMENTS: usize = 200;
/// How long a server may take to answer a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that are made when they are needed, set up alike, and kept.
pub struct Connections {
    config: Config,
    /// Said once on each new connection.
    greeting: String,
    idle: Mutex<Vec<Open>>,
    places: Arc<Semaphore>,
}

struct Open {
    client: Client,
    statements: HashMap<String, Statement>,
}

/// One connection, for one transaction. It goes back by [`Connection::give_back`] alone: one that was left amid a
/// transaction is closed.
pub struct Connection<'a> {
    open: Open,
    home: &'a Connections,
    _place: OwnedSemaphorePermit,
}

impl Connections {
    /// At most `limit` at a time; who comes later waits.
    pub fn new(config: &Config, greeting: &str, limit: usize) -> Connections {
        let mut config = config.clone();
        config.connect_timeout(CONNECT_TIMEOUT).application_name("preview-agent");
        let places = Arc::new(Semaphore::new(limit));
        Connections { config, greeting: greeting.into(), idle: Mutex::default(), places }
    }

    /// An idle connection, or a new one. Must be called on the runtime that carries the connections.
    pub async fn take(&self) -> Result<Connection<'_>, Error> {
        // Never closed, so that there is always a place in the end.
        let place = self.places.clone().acquire_owned().await.expect("the semaphore stays open");
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(open) if open.client.is_closed() => {}
                Some(open) => return Ok(Connection { open, home: self, _place: place }),
                None => break,
            }
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        client.batch_execute(&self.greeting).await?;
        Ok(Connection { open: Open { client, statements: HashMap::new() }, home: self, _place: place })
    }
}

impl Connection<'_> {
    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.open.client
    }

    /// `sql`, prepared; its parameters have these types.
    pub async fn prepare(&mut self, sql: &str, types: &[Type]) -> Result<Statement, Error> {
        if let Some(statement) = self.open.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.open.statements.len() >= MAX_STATEMENTS {
            self.open.statements.clear();
        }
        let statement = self.open.client.prepare_typed(sql, types).await?;
        self.open.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Keeps the connection, which is outside of any transaction, for the next who needs one.
    pub fn give_back(self) {
        self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.open);
    }
}
