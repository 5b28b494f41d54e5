use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::Shared;
use crate::token::Claims;

/// A right on a topic, given by a policy on `realtime.messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRight {
    /// By a select policy.
    Read,
    /// By an insert policy.
    Send,
}

/// What a right on a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    Broadcast,
    Presence,
}

impl Extension {
    /// The value of the column `extension`.
    pub fn as_str(self) -> &'static str {
        match self {
            Extension::Broadcast => "broadcast",
            Extension::Presence => "presence",
        }
    }
}

const AS_CALLER: &str = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)";
const OF_TOPIC: &str = "select set_config('realtime.topic', $1, true)";
const ADD: &str = "insert into realtime.messages (topic, extension) values ($1, $2)";
const SEEN: &str =
    "select exists (select from realtime.messages where topic = $1 and xmin = pg_current_xact_id()::xid)";
const ROW: &str = "select exists (select from public.project_files where id = $1::text::uuid)";

impl Shared {
    /// Checks the policies as Realtime does: with a row that has only topic and extension, and is rolled back.
    pub async fn may(&self, claims: &Claims, topic: &str, right: TopicRight, extension: Extension) -> bool {
        let row: [&(dyn ToSql + Sync); 2] = [&topic, &extension.as_str()];
        self.check(async |client| {
            client.query(OF_TOPIC, &[&topic]).await?;
            match right {
                TopicRight::Read => {
                    client.execute(ADD, &row).await?;
                    become_caller(client, claims).await?;
                    Ok(client.query_one(SEEN, &[&topic]).await?.get(0))
                }
                TopicRight::Send => {
                    become_caller(client, claims).await?;
                    client.execute(ADD, &row).await.map(|_| true)
                }
            }
        })
        .await
    }

    /// Whether the caller may read this row of `project_files`.
    pub async fn may_read_row(&self, claims: &Claims, row: &str) -> bool {
        self.check(async |client| {
            become_caller(client, claims).await?;
            Ok(client.query_one(ROW, &[&row]).await?.get(0))
        })
        .await
    }

    /// Runs a check in a transaction that is rolled back. An error of the database counts as no.
    pub async fn check(&self, ask: impl AsyncFnOnce(&Client) -> Result<bool, Error>) -> bool {
        let check = async {
            let connection = self.own.take().await?;
            connection.client().batch_execute("begin").await?;
            let may = ask(connection.client()).await;
            connection.client().batch_execute("rollback").await?;
            connection.give_back();
            may
        };
        check.await.unwrap_or_else(|error| {
            if error.as_db_error().is_none() {
                tracing::warn!(%error, "cannot reach the database; the right is refused");
            }
            false
        })
    }
}

/// Takes the caller's role and claims until the end of the transaction.
pub async fn become_caller(client: &Client, claims: &Claims) -> Result<(), Error> {
    client.query(AS_CALLER, &[&claims.role(), &claims.to_json()]).await.map(|_| ())
}
