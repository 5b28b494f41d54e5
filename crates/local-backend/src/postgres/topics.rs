use tokio_postgres::{Client, Error};

use super::Shared;
use crate::token::Claims;

/// A topic's right, as a policy on `realtime.messages` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRight {
    /// Its select policy.
    Read,
    /// Its insert policy.
    Send,
}

const AS_CALLER: &str = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)";
const OF_TOPIC: &str = "select set_config('realtime.topic', $1, true)";
const ADD: &str = "insert into realtime.messages (topic, extension) values ($1, 'broadcast')";
const SEEN: &str =
    "select exists (select from realtime.messages where topic = $1 and xmin = pg_current_xact_id()::xid)";
const ROW: &str = "select exists (select from public.project_files where id = $1::text::uuid)";

impl Shared {
    /// Asked as Realtime asks: with a row that has only topic and extension, and is taken back.
    pub async fn may(&self, claims: &Claims, topic: &str, right: TopicRight) -> bool {
        self.tried(async |client| {
            client.query(OF_TOPIC, &[&topic]).await?;
            match right {
                TopicRight::Read => {
                    client.execute(ADD, &[&topic]).await?;
                    become_caller(client, claims).await?;
                    Ok(client.query_one(SEEN, &[&topic]).await?.get(0))
                }
                TopicRight::Send => {
                    become_caller(client, claims).await?;
                    client.execute(ADD, &[&topic]).await.map(|_| true)
                }
            }
        })
        .await
    }

    /// Whether the caller sees that row of `project_files`.
    pub async fn sees(&self, claims: &Claims, row: &str) -> bool {
        self.tried(async |client| {
            become_caller(client, claims).await?;
            Ok(client.query_one(ROW, &[&row]).await?.get(0))
        })
        .await
    }

    /// Asks in a transaction that is taken back. No right is refused by an error, too.
    pub async fn tried(&self, ask: impl AsyncFnOnce(&Client) -> Result<bool, Error>) -> bool {
        let tried = async {
            let connection = self.own.take().await?;
            connection.client().batch_execute("begin").await?;
            let may = ask(connection.client()).await;
            connection.client().batch_execute("rollback").await?;
            connection.give_back();
            may
        };
        tried.await.unwrap_or_else(|error| {
            if error.as_db_error().is_none() {
                tracing::warn!(%error, "the database did not answer: refused");
            }
            false
        })
    }
}

/// Role and claims until the transaction ends.
pub async fn become_caller(client: &Client, claims: &Claims) -> Result<(), Error> {
    client.query(AS_CALLER, &[&claims.role(), &claims.to_json()]).await.map(|_| ())
}
