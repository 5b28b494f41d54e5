use crate::postgres::{Extension, Postgres, TopicRight};
use crate::realtime::{Allowed, ChannelPolicies};
use crate::store::rights::Rights;
use crate::token::Claims;

/// The rights on channels: rules for a project in memory, the database's policies over a PostgreSQL.
#[derive(Clone)]
pub enum Policies {
    Memory(Rights),
    Postgres(Postgres),
}

impl ChannelPolicies for Policies {
    fn may_join<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a> {
        Box::pin(async move {
            match self {
                Policies::Memory(rights) => rights.may_join(claims, topic),
                Policies::Postgres(postgres) => {
                    postgres.may(claims, topic, TopicRight::Read, Extension::Broadcast).await
                }
            }
        })
    }

    fn may_broadcast<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a> {
        Box::pin(async move {
            match self {
                Policies::Memory(rights) => rights.may_broadcast(claims, topic),
                Policies::Postgres(postgres) => {
                    postgres.may(claims, topic, TopicRight::Send, Extension::Broadcast).await
                }
            }
        })
    }

    fn may_track<'a>(&'a self, claims: &'a Claims, topic: &'a str) -> Allowed<'a> {
        Box::pin(async move {
            match self {
                Policies::Memory(rights) => rights.may_track(claims, topic),
                Policies::Postgres(postgres) => {
                    postgres.may(claims, topic, TopicRight::Send, Extension::Presence).await
                }
            }
        })
    }

    fn may_subscribe(&self, claims: &Claims) -> bool {
        match self {
            Policies::Memory(rights) => rights.may_read(claims),
            Policies::Postgres(_) => true,
        }
    }
}
