use serde_json::Value;
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

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

const AS_CALLER: &str = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true),
    set_config('realtime.topic', $3, true)";
const PROBE: &str = "insert into realtime.messages (topic, extension) values ($1, 'broadcast') returning id::text";
const SEEN: &str = "select exists (select from realtime.messages where id = $1::text::uuid)";
const SEND: &str = "insert into realtime.messages (topic, extension) values ($1, 'broadcast')";
const ROW: &str = "select exists (select from public.project_files where id = $1::text::uuid)";

impl Shared {
    /// Asked as Realtime asks: with a row that has only topic and extension, and is taken back.
    pub async fn may(&self, claims: &Claims, topic: &str, right: TopicRight) -> bool {
        let probe = (right == TopicRight::Read).then_some(topic);
        self.as_caller(claims, topic, probe, right).await
    }

    /// Whether the caller sees that row of `project_files`.
    pub async fn sees(&self, claims: &Claims, row: &str) -> bool {
        let asked = async {
            let mut connection = self.own.take().await?;
            connection.client().batch_execute("begin").await?;
            let settings = connection.prepare(AS_CALLER, &[Type::TEXT; 3]).await?;
            let question = connection.prepare(ROW, &[Type::TEXT]).await?;
            let client = connection.client();
            let (role, claims) = (claims.role(), claims.to_json());
            let seen = match client.query(&settings, &[&role, &claims, &""]).await {
                Ok(_) => client.query_one(&question, &[&row]).await.map(|row| row.get(0)),
                Err(error) => Err(error),
            };
            client.batch_execute("rollback").await?;
            connection.give_back();
            seen
        };
        answered(asked.await)
    }

    async fn as_caller(&self, claims: &Claims, topic: &str, probe: Option<&str>, right: TopicRight) -> bool {
        let asked = async {
            let mut connection = self.own.take().await?;
            let settings = connection.prepare(AS_CALLER, &[Type::TEXT; 3]).await?;
            let probing = connection.prepare(PROBE, &[Type::TEXT]).await?;
            let seeing = connection.prepare(SEEN, &[Type::TEXT]).await?;
            let sending = connection.prepare(SEND, &[Type::TEXT]).await?;
            let client = connection.client();
            client.batch_execute("begin").await?;
            let ask = async {
                let row: Option<String> = match probe {
                    Some(topic) => Some(client.query_one(&probing, &[&topic]).await?.get(0)),
                    None => None,
                };
                let (role, claims) = (claims.role(), claims.to_json());
                let settings_of: [&(dyn ToSql + Sync); 3] = [&role, &claims, &topic];
                client.query(&settings, &settings_of).await?;
                match (right, row) {
                    (TopicRight::Read, Some(row)) => Ok(client.query_one(&seeing, &[&row]).await?.get(0)),
                    _ => client.execute(&sending, &[&topic]).await.map(|_| true),
                }
            };
            let may: Result<bool, Error> = ask.await;
            client.batch_execute("rollback").await?;
            connection.give_back();
            may
        };
        answered(asked.await)
    }
}

/// No right is refused by an error, too.
pub fn answered(asked: Result<bool, Error>) -> bool {
    asked.unwrap_or_else(|error| {
        if error.as_db_error().is_none() {
            tracing::warn!(%error, "the database did not answer: refused");
        }
        false
    })
}

/// A column's text as JSON, by the type's OID.
pub fn column(text: &str, type_oid: u32) -> Value {
    let kind = Type::from_oid(type_oid);
    let parsed = || serde_json::from_str(text).unwrap_or_else(|_| text.into());
    match kind {
        Some(Type::BOOL) => (text == "t").into(),
        Some(Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC) => parsed(),
        Some(Type::JSON | Type::JSONB) => parsed(),
        // `2026-11-21 07:00:00.5+00`, as the stream's connection is set.
        Some(Type::TIMESTAMPTZ) => text.replacen(' ', "T", 1).replacen("+00", "+00:00", 1).into(),
        Some(Type::TIMESTAMP) => text.replacen(' ', "T", 1).into(),
        _ => text.into(),
    }
}
