//! Objects of storage: their rows in `storage.objects`, under its policies, and their bytes in the schema `local_backend`.

use bytes::Bytes;
use serde_json::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::error::store_error;
use super::topics::become_caller;
use super::{Postgres, Shared};
use crate::object_name::SNAPSHOTS;
use crate::store_error::StoreError;
use crate::token::Claims;

/// Whether an upload may replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    Allowed,
    Refused,
}

/// An object to add, with the caller's rights.
pub struct Upload {
    pub claims: Claims,
    pub bucket: String,
    /// The name within the bucket.
    pub name: String,
    pub content_type: String,
    pub bytes: Bytes,
    pub overwrite: Overwrite,
}

/// The reason for which an object was not added. The first two texts are those of storage.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("The resource already exists")]
    Exists,
    #[error("new row violates row-level security policy")]
    NoRight,
    #[error("{0}")]
    Failed(Error),
    #[error("the database's thread has ended")]
    Gone,
}

const BYTES: &str = "insert into local_backend.objects (name, bytes) values ($1, $2)
    on conflict (name) do update set bytes = excluded.bytes";

impl Postgres {
    /// Adds an object with the caller's rights, row and bytes in one transaction.
    pub async fn upload(&self, upload: Upload) -> Result<(), UploadError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.upload(upload).await }).await.map_err(|_| UploadError::Gone)?
    }

    /// Whether a policy lets the caller read the object.
    pub async fn may_read_object(&self, claims: &Claims, bucket: &str, name: &str) -> bool {
        let (shared, claims) = (self.shared(), claims.clone());
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        let asked = self.0.runtime.spawn(async move { shared.may_read_object(&claims, &bucket, &name).await });
        asked.await.unwrap_or(false)
    }

    /// The objects of a folder that the caller may read, the newest first, as storage lists them.
    pub async fn list_objects(
        &self,
        claims: &Claims,
        bucket: &str,
        folder: &str,
        limit: i64,
    ) -> Result<Value, StoreError> {
        let (shared, claims) = (self.shared(), claims.clone());
        let (bucket, folder) = (bucket.to_owned(), folder.to_owned());
        let listed = self.0.runtime.spawn(async move { shared.list_objects(&claims, &bucket, &folder, limit).await });
        listed.await.unwrap_or_else(|error| Err(StoreError::Unreachable { message: error.to_string() }))
    }

    /// Removes objects with the rights of the service.
    pub async fn remove_objects(&self, bucket: &str, names: Vec<String>) -> Result<(), StoreError> {
        let (shared, bucket) = (self.shared(), bucket.to_owned());
        let removed = self.0.runtime.spawn(async move { shared.remove_objects(&bucket, &names).await });
        removed.await.unwrap_or_else(|error| Err(StoreError::Unreachable { message: error.to_string() }))
    }

    /// Stores a snapshot in its bucket, and removes old ones: all but the newest four and those of the last hour, whose URLs
    /// may still be in use. Blocks; must not be called on the database's thread.
    pub fn keep_snapshot(&self, name: &str, zip: Bytes) -> Result<(), StoreError> {
        let (shared, name) = (self.shared(), name.to_owned());
        self.wait(async move {
            shared.keep_object(SNAPSHOTS, &name, &zip).await?;
            let old = "with old as (delete from storage.objects where id in (
                    select id from storage.objects where bucket_id = $1 and starts_with(name, $2 || '/')
                        order by created_at desc offset 4)
                    and created_at < now() - interval '1 hour' returning bucket_id || '/' || name as whole)
                delete from local_backend.objects using old where name = old.whole";
            shared.query(old, &[SNAPSHOTS, &shared.project_id]).await.map(|_| ())
        })?
    }

    /// The bytes of `<bucket>/<name>`.
    pub async fn object(&self, name: &str) -> Option<Bytes> {
        let (shared, name) = (self.shared(), name.to_owned());
        let read = self.0.runtime.spawn(async move { shared.object(&name).await }).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read an object");
            None
        })
    }
}

impl Shared {
    /// The bytes of `<bucket>/<name>`.
    pub async fn object(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let read = async {
            let connection = self.own.take().await?;
            let sql = "select bytes from local_backend.objects where name = $1";
            let row = connection.client().query_opt(sql, &[&name]).await?;
            connection.give_back();
            Ok(row.map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))))
        };
        read.await.map_err(|error: Error| store_error(&error))
    }

    /// Stores an object of the backend itself, without a check of policies.
    pub async fn keep_object(&self, bucket: &str, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let keep = async {
            let connection = self.own.take().await?;
            let row = "insert into storage.objects (bucket_id, name, metadata)
                values ($1, $2, jsonb_build_object('size', $3::text::bigint))
                on conflict (bucket_id, name) do update set metadata = excluded.metadata";
            connection.client().execute(BYTES, &[&format!("{bucket}/{name}"), &bytes]).await?;
            connection.client().execute(row, &[&bucket, &name, &bytes.len().to_string()]).await?;
            connection.give_back();
            Ok(())
        };
        keep.await.map_err(|error: Error| store_error(&error))
    }

    async fn list_objects(&self, claims: &Claims, bucket: &str, folder: &str, limit: i64) -> Result<Value, StoreError> {
        let list = async {
            let connection = self.own.take().await?;
            let client = connection.client();
            client.batch_execute("begin").await?;
            become_caller(client, claims).await?;
            let sql = "select coalesce(jsonb_agg(jsonb_build_object('id', o.id, 'created_at', o.created_at,
                    'name', substr(o.name, length($2) + 2), 'metadata', o.metadata)), '[]')::text
                from (select * from storage.objects where bucket_id = $1 and starts_with(name, $2 || '/')
                    order by created_at desc limit $3) o";
            let listed: String = client.query_one(sql, &[&bucket, &folder, &limit]).await?.get(0);
            client.batch_execute("rollback").await?;
            connection.give_back();
            Ok(serde_json::from_str(&listed).unwrap_or_default())
        };
        list.await.map_err(|error: Error| store_error(&error))
    }

    async fn remove_objects(&self, bucket: &str, names: &[String]) -> Result<(), StoreError> {
        let remove = async {
            let connection = self.own.take().await?;
            let (client, whole) = (connection.client(), names.iter().map(|name| format!("{bucket}/{name}")));
            let whole: Vec<String> = whole.collect();
            client
                .execute("delete from storage.objects where bucket_id = $1 and name = any($2)", &[&bucket, &names])
                .await?;
            client.execute("delete from local_backend.objects where name = any($1)", &[&whole]).await?;
            connection.give_back();
            Ok(())
        };
        remove.await.map_err(|error: Error| store_error(&error))
    }

    async fn may_read_object(&self, claims: &Claims, bucket: &str, name: &str) -> bool {
        let sql = "select exists (select from storage.objects where bucket_id = $1 and name = $2)";
        self.check(async |client| {
            become_caller(client, claims).await?;
            Ok(client.query_one(sql, &[&bucket, &name]).await?.get(0))
        })
        .await
    }

    async fn upload(&self, upload: Upload) -> Result<(), UploadError> {
        let connection = self.own.take().await.map_err(UploadError::Failed)?;
        let client = connection.client();
        let outcome = match client.batch_execute("begin").await {
            Ok(()) => add(client, &upload).await,
            Err(error) => Err(error),
        };
        let ended = client.batch_execute(if outcome.is_ok() { "commit" } else { "rollback" }).await;
        if ended.is_ok() {
            connection.give_back();
        }
        outcome.and(ended).map_err(|error| match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => UploadError::Exists,
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => UploadError::NoRight,
            _ => UploadError::Failed(error),
        })
    }
}

async fn add(client: &Client, upload: &Upload) -> Result<(), Error> {
    become_caller(client, &upload.claims).await?;
    let replace = match upload.overwrite {
        Overwrite::Allowed => "on conflict (bucket_id, name) do update set metadata = excluded.metadata",
        Overwrite::Refused => "",
    };
    let row = format!(
        "insert into storage.objects (bucket_id, name, owner_id, metadata)
         values ($1, $2, $3, jsonb_build_object('size', $4::text::bigint, 'mimetype', $5::text)) {replace}"
    );
    let (owner, size) = (upload.claims.text("sub"), upload.bytes.len().to_string());
    client.execute(&row, &[&upload.bucket, &upload.name, &owner, &size, &upload.content_type]).await?;
    client.batch_execute("set local role none").await?;
    let name = format!("{}/{}", upload.bucket, upload.name);
    client.execute(BYTES, &[&name, &&*upload.bytes]).await?;
    Ok(())
}
