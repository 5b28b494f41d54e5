use tokio_postgres::types::{ToSql, Type};

use super::{Postgres, Shared};
use crate::token::Claims;

const AS_CALLER: &str = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)";
const ADD: &str = "insert into storage.objects (bucket_id, name, metadata)
    values ('project-assets', $1, jsonb_build_object('size', $2::text::bigint)) on conflict do nothing";

impl Postgres {
    /// Writes down an object of `project-assets`, as storage does after an upload: false where no policy lets the caller.
    pub async fn add_asset(&self, claims: &Claims, name: &str, size: usize) -> bool {
        let (shared, claims, name) = (self.shared(), claims.clone(), name.to_owned());
        let added = self.0.runtime.spawn(async move { shared.add_asset(&claims, &name, size).await });
        match added.await.map_err(std::io::Error::other) {
            Ok(Ok(())) => true,
            Ok(Err(error)) if error.as_db_error().is_some() => false,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database did not answer: refused");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "an object was not written down");
                false
            }
        }
    }
}

impl Shared {
    async fn add_asset(&self, claims: &Claims, name: &str, size: usize) -> Result<(), tokio_postgres::Error> {
        let mut connection = self.own.take().await?;
        let caller = connection.prepare(AS_CALLER, &[Type::TEXT; 2]).await?;
        let add = connection.prepare(ADD, &[Type::TEXT; 2]).await?;
        let (role, claims, size) = (claims.role(), claims.to_json(), size.to_string());
        let (caller_is, object): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 2]) =
            ([&role, &claims], [&name, &size]);
        let client = connection.client();
        client.batch_execute("begin").await?;
        let added = match client.execute(&caller, &caller_is).await {
            Ok(_) => client.execute(&add, &object).await,
            Err(error) => Err(error),
        };
        client.batch_execute(if added.is_ok() { "commit" } else { "rollback" }).await?;
        connection.give_back();
        added.map(|_| ())
    }
}
