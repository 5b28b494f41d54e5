//! Storage's objects: their rows in `storage.objects`, under its policies, and their bytes in the backend's own schema.

use bytes::Bytes;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::refusal::store_error;
use super::topics::become_caller;
use super::{Postgres, Shared};
use crate::store_error::StoreError;
use crate::token::Claims;

/// An object to be added, by whom.
pub struct Upload {
    pub claims: Claims,
    pub bucket: String,
    /// Within the bucket.
    pub name: String,
    pub kind: String,
    pub bytes: Bytes,
    /// Also in place of one that is there.
    pub upsert: bool,
}

/// Why an object was not added.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("The resource already exists")]
    Exists,
    #[error("new row violates row-level security policy")]
    NoRight,
    #[error("{0}")]
    Failed(#[source] Error),
    #[error("the database's thread has ended")]
    Gone,
}

const BYTES: &str = "insert into local_backend.objects (name, bytes) values ($1, $2)
    on conflict (name) do update set bytes = excluded.bytes";

impl Postgres {
    /// Adds an object with the caller's rights: row and bytes together.
    pub async fn upload(&self, upload: Upload) -> Result<(), UploadError> {
        let shared = self.shared();
        self.0.runtime.spawn(async move { shared.upload(upload).await }).await.map_err(|_| UploadError::Gone)?
    }

    /// Whether a policy lets the caller read the object.
    pub async fn may_read_object(&self, claims: &Claims, bucket: &str, name: &str) -> bool {
        let (shared, claims) = (self.shared(), claims.clone());
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        let asked = self.0.runtime.spawn(async move { shared.sees_object(&claims, &bucket, &name).await });
        asked.await.unwrap_or(false)
    }

    /// The bytes of `<bucket>/<name>`.
    pub async fn object(&self, name: &str) -> Option<Bytes> {
        let (shared, name) = (self.shared(), name.to_owned());
        let read = self.0.runtime.spawn(async move { shared.object(&name).await }).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "an object was not read");
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

    /// Keeps an object of the backend's own: no policy is asked.
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

    async fn sees_object(&self, claims: &Claims, bucket: &str, name: &str) -> bool {
        let sql = "select exists (select from storage.objects where bucket_id = $1 and name = $2)";
        self.tried(async |client| {
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
    let replace = match upload.upsert {
        true => "on conflict (bucket_id, name) do update set metadata = excluded.metadata",
        false => "",
    };
    let row = format!(
        "insert into storage.objects (bucket_id, name, owner_id, metadata)
         values ($1, $2, $3, jsonb_build_object('size', $4::text::bigint, 'mimetype', $5::text)) {replace}"
    );
    let (owner, size) = (upload.claims.text("sub"), upload.bytes.len().to_string());
    client.execute(&row, &[&upload.bucket, &upload.name, &owner, &size, &upload.kind]).await?;
    client.batch_execute("set local role none").await?;
    let name = format!("{}/{}", upload.bucket, upload.name);
    client.execute(BYTES, &[&name, &&*upload.bytes]).await?;
    Ok(())
}
