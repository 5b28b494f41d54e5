use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

/// Most prepared statements of a connection.
const MAX_STATEMENTS: usize = 200;
/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A pool of connections that are opened when they are needed and set up alike.
pub struct Connections {
    config: Config,
    /// Statements that set up each new connection.
    setup: String,
    idle: Mutex<Vec<Open>>,
    permits: Arc<Semaphore>,
}

struct Open {
    client: Client,
    statements: HashMap<String, Statement>,
}

/// One connection, for one transaction. Only [`Connection::give_back`] returns it to the pool: otherwise it may be inside a
/// transaction, and is closed.
pub struct Connection<'a> {
    open: Open,
    pool: &'a Connections,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// A pool of at most `limit` connections; further callers wait.
    pub fn new(config: &Config, setup: &str, limit: usize) -> Connections {
        let mut config = config.clone();
        config.connect_timeout(CONNECT_TIMEOUT).application_name("preview-agent");
        let permits = Arc::new(Semaphore::new(limit));
        Connections { config, setup: setup.into(), idle: Mutex::default(), permits }
    }

    /// An idle connection, or a new one. Must be called on the runtime of the database's thread.
    pub async fn take(&self) -> Result<Connection<'_>, Error> {
        // The semaphore is never closed.
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is open");
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(open) if open.client.is_closed() => {}
                Some(open) => return Ok(Connection { open, pool: self, _permit: permit }),
                None => break,
            }
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        client.batch_execute(&self.setup).await?;
        Ok(Connection { open: Open { client, statements: HashMap::new() }, pool: self, _permit: permit })
    }
}

impl Connection<'_> {
    /// The client of the connection.
    pub fn client(&self) -> &Client {
        &self.open.client
    }

    /// The prepared statement of `sql`, whose parameters have these types.
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

    /// Returns the connection to the pool. It must be outside of any transaction.
    pub fn give_back(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.open);
    }
}
