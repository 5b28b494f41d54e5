use tokio_postgres::Client;

use super::install::{FullError, InstallError};

/// Finds the column of `projects` that names the owner, as the migrations do.
const OWNER_COLUMN: &str = "select a.attname::text from pg_attribute a
    where a.attrelid = 'public.projects'::regclass and not a.attisdropped and a.atttypid = 'uuid'::regtype
        and a.attname in ('owner_id', 'user_id', 'created_by')
    order by array_position(array['owner_id', 'user_id', 'created_by'], a.attname::text) limit 1";

/// Creates the project with a new user as its owner, if it does not exist. Returns the owner.
pub async fn ensure(client: &Client, project_id: &str) -> Result<String, InstallError> {
    let failed =
        |error| InstallError::Step { step: format!("creating the project {project_id}"), error: FullError(error) };
    let owner = "select project_sync.project_owner($1::text::uuid)::text";
    let row = client.query_one(owner, &[&project_id]).await.map_err(failed)?;
    if let Some(owner) = row.get(0) {
        return Ok(owner);
    }
    let column: String = client.query_one(OWNER_COLUMN, &[]).await.map_err(failed)?.get(0);
    let owner = uuid::Uuid::new_v4().to_string();
    let column = super::catalog::quoted(&column);
    for sql in [
        "insert into auth.users (id) values ($1::text::uuid)".to_owned(),
        "insert into public.user_profiles (id) values ($1::text::uuid) on conflict do nothing".to_owned(),
    ] {
        client.execute(&sql, &[&owner]).await.map_err(failed)?;
    }
    let sql = format!(
        "insert into public.projects (id, {column}) values ($1::text::uuid, $2::text::uuid)
         on conflict (id) do update set {column} = excluded.{column}"
    );
    client.execute(&sql, &[&project_id, &owner]).await.map_err(failed)?;
    Ok(owner)
}
