use crate::postgres::{Postgres, TopicRight};
use crate::store::rights::Rights;
use crate::token::Claims;

/// Who may join and send on which topic: for the project in memory by rule, over PostgreSQL by the policies there.
#[derive(Clone)]
pub enum Policies {
    Memory(Rights),
    Postgres(Postgres),
}

impl Policies {
    /// Joins the private channel `topic` (named without `realtime:`).
    pub async fn may_join(&self, claims: &Claims, topic: &str) -> bool {
        match self {
            Policies::Memory(rights) => rights.may_join(claims, topic),
            Policies::Postgres(postgres) => postgres.may(claims, topic, TopicRight::Read).await,
        }
    }

    /// Sends on it.
    pub async fn may_send(&self, claims: &Claims, topic: &str) -> bool {
        match self {
            Policies::Memory(rights) => rights.may_send(claims, topic),
            Policies::Postgres(postgres) => postgres.may(claims, topic, TopicRight::Send).await,
        }
    }

    /// Whether a subscription to rows is taken at all. Over PostgreSQL it is asked for each row.
    pub fn may_subscribe(&self, claims: &Claims) -> bool {
        match self {
            Policies::Memory(rights) => rights.may_read(claims),
            Policies::Postgres(_) => true,
        }
    }
}
