use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::digest::hex;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Roles and schemas that a Supabase project has and a plain PostgreSQL has not.
const ROLES: &str = include_str!("../../../../tests/db/standins/hosted.sql");
const SCHEMAS: &str = include_str!("../../../../tests/db/standins/schemas.sql");
/// The oldest server version that the migrations support.
const OLDEST: i32 = 150_000;
/// Attempts of a transaction. Roles belong to the whole server, so installations into two databases at once may collide.
const ATTEMPTS: u32 = 20;
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The backend's own schema: the applied migrations, and the bytes of objects. Only the backend may read it.
const OWN: &str = "
    create schema if not exists local_backend;
    revoke all on schema local_backend from public;
    create table if not exists local_backend.migrations (
        name text primary key, sha256 text not null, applied_at timestamptz not null default now());
    create table if not exists local_backend.objects (name text primary key, bytes bytea not null)";

/// The reason for which a database cannot be used. No text quotes the database URL.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("cannot connect to the database: {0}")]
    Connect(Error),
    #[error("the database server is PostgreSQL {0}; use version 15 or newer")]
    TooOld(String),
    #[error(
        "the database server has wal_level = {0}; run `alter system set wal_level = logical` and restart the server"
    )]
    WalLevel(String),
    #[error("the database user {user:?} needs {right}")]
    Right { user: String, right: &'static str },
    #[error(
        "the database has the schema {found:?} but not the schema {missing:?}: it is neither a Supabase project nor an \
         empty database; use an empty database"
    )]
    PartlySupabase { found: &'static str, missing: &'static str },
    #[error("{step}: {error}")]
    Step { step: String, error: FullError },
    #[error("cannot start the stream of events: {0}")]
    Stream(std::io::Error),
}

/// An error with the database's message and code; the driver's own text is only `db error`.
#[derive(Debug, thiserror::Error)]
pub struct FullError(pub Error);

impl std::fmt::Display for FullError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_db_error() {
            Some(refused) => write!(f, "{} ({})", refused.message(), refused.code().code()),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The rights of the database URL's user.
pub struct Rights {
    /// It may take every role.
    pub superuser: bool,
}

/// Checks that the database can be used, creates missing parts, and runs the migrations that are new or changed.
pub async fn install(client: &Client) -> Result<Rights, InstallError> {
    let rights = check(client).await?;
    let step = |step: &str| {
        let step = step.to_owned();
        move |error| InstallError::Step { step, error: FullError(error) }
    };
    // Two backends that start on one database take turns.
    let lock = "select pg_advisory_lock(hashtextextended('local_backend', 0))";
    client.batch_execute(lock).await.map_err(step("waiting for another backend"))?;
    create_standins(client, &rights).await?;
    client.batch_execute(OWN).await.map_err(step("creating the schema local_backend"))?;
    migrate(client, &rights).await?;
    let publication = "do $$ begin
        if not exists (select from pg_publication where pubname = 'supabase_realtime_messages_publication') then
            create publication supabase_realtime_messages_publication for table realtime.messages;
        end if;
        -- The rows of project_files are published only where clients use them, as the console does here.
        if not exists (select from pg_publication_tables
            where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'project_files') then
            alter publication supabase_realtime add table public.project_files;
        end if;
        end $$";
    client.batch_execute(publication).await.map_err(step("publishing realtime.messages"))?;
    if rights.superuser {
        // Realtime keeps its messages for 72 hours; a plain server has no Realtime that removes them.
        let old = "delete from realtime.messages where inserted_at < now() - interval '72 hours'";
        client.batch_execute(old).await.map_err(step("removing old messages"))?;
    }
    let lock = "select pg_advisory_unlock(hashtextextended('local_backend', 0))";
    client.batch_execute(lock).await.map_err(step("releasing the installation lock"))?;
    Ok(rights)
}

async fn check(client: &Client) -> Result<Rights, InstallError> {
    let asked = "select current_setting('server_version_num')::int4, current_setting('server_version'),
        current_setting('wal_level'), r.rolsuper, r.rolreplication, r.rolname::text,
        exists (select from pg_roles a where a.rolname = 'authenticator' and pg_has_role(current_user, a.oid, 'member'))
        from pg_roles r where r.rolname = current_user";
    let row = client.query_one(asked, &[]).await.map_err(InstallError::Connect)?;
    let user: String = row.get(5);
    if row.get::<_, i32>(0) < OLDEST {
        return Err(InstallError::TooOld(row.get(1)));
    }
    if row.get::<_, &str>(2) != "logical" {
        return Err(InstallError::WalLevel(row.get(2)));
    }
    let superuser: bool = row.get(3);
    if !superuser && !row.get::<_, bool>(4) {
        let right = "the attribute REPLICATION, which reading events takes (on a plain server, use the superuser)";
        return Err(InstallError::Right { user, right });
    }
    if !superuser && !row.get::<_, bool>(6) {
        let right = "membership in the role authenticator (on a plain server, use the superuser)";
        return Err(InstallError::Right { user, right });
    }
    Ok(Rights { superuser })
}

/// Creates stand-ins for Supabase's roles and schemas if none of the schemas exists.
async fn create_standins(client: &Client, rights: &Rights) -> Result<(), InstallError> {
    let step = |error| InstallError::Step { step: "looking for Supabase's schemas".into(), error: FullError(error) };
    let asked = "select to_regnamespace('auth') is not null, to_regnamespace('realtime') is not null,
        to_regnamespace('storage') is not null";
    let row = client.query_one(asked, &[]).await.map_err(step)?;
    let found: Vec<(&'static str, bool)> =
        ["auth", "realtime", "storage"].into_iter().enumerate().map(|(index, name)| (name, row.get(index))).collect();
    let present = found.iter().find(|(_, exists)| *exists).map(|(name, _)| *name);
    let missing = found.iter().find(|(_, exists)| !*exists).map(|(name, _)| *name);
    match (present, missing) {
        (_, None) => Ok(()),
        (Some(found), Some(missing)) => Err(InstallError::PartlySupabase { found, missing }),
        (None, Some(_)) if !rights.superuser => Err(InstallError::Right {
            user: "of the database URL".into(),
            right: "the attribute SUPERUSER, which creating stand-ins for Supabase's schemas takes",
        }),
        (None, Some(_)) => {
            tracing::info!("the database has none of Supabase's schemas: creating stand-ins for its roles and schemas");
            let sql = format!("{ROLES};{SCHEMAS}");
            transaction(client, &sql).await.map_err(|error| InstallError::Step {
                step: "creating stand-ins for Supabase's roles and schemas".into(),
                error: FullError(error),
            })
        }
    }
}

/// Runs the first migration that is new or changed, and all after it: each may be run again, and later ones need earlier
/// ones.
async fn migrate(client: &Client, rights: &Rights) -> Result<(), InstallError> {
    let failed = |name: &str| {
        let step = format!("the migration {name}");
        move |error| InstallError::Step { step, error: FullError(error) }
    };
    let recorded = "select name, sha256 from local_backend.migrations";
    let recorded = client.query(recorded, &[]).await.map_err(failed("list"))?;
    let recorded: Vec<(String, String)> = recorded.iter().map(|row| (row.get(0), row.get(1))).collect();
    let hash = |sql: &str| hex(&Sha256::digest(sql.as_bytes()));
    let is_recorded = |(name, sql): &(&str, &str)| recorded.iter().any(|(done, sha)| done == name && *sha == hash(sql));
    for (name, sql) in MIGRATIONS.iter().skip_while(|migration| is_recorded(migration)) {
        // On the hosted service an extension lets `postgres` create policies on tables of others; here the superuser does.
        let of_others = name.ends_with("_realtime_policies") || name.ends_with("_storage_policies");
        let who = match rights.superuser && !of_others {
            true => "set local session authorization postgres;",
            false => "",
        };
        let record = format!(
            "set local session authorization default;
            insert into local_backend.migrations (name, sha256) values ('{name}', '{}')
            on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()",
            hash(sql)
        );
        transaction(client, &format!("{who}\n{sql};\n{record}")).await.map_err(failed(name))?;
    }
    if recorded.is_empty() {
        // The flags start off, for a rollout on a hosted project; a new local database has nothing to roll out.
        let flags = "update public.feature_flags set is_enabled = true, rollout_percentage = 100
            where flag_key <> 'FSYNC_KEEP_CLIENT_BROADCAST'";
        client.batch_execute(flags).await.map_err(failed("feature flags"))?;
    }
    Ok(())
}

/// Runs `sql` in one transaction, again after a collision with another database of the server.
async fn transaction(client: &Client, sql: &str) -> Result<(), Error> {
    for _ in 1..ATTEMPTS {
        let Err(error) = run(client, sql).await else { return Ok(()) };
        let collisions = [
            SqlState::DUPLICATE_OBJECT,
            SqlState::UNIQUE_VIOLATION,
            SqlState::INTERNAL_ERROR,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if !error.code().is_some_and(|code| collisions.contains(code)) {
            return Err(error);
        }
        tracing::debug!(error = %FullError(error), "a collision with another installation: trying again");
        tokio::time::sleep(PAUSE).await;
    }
    run(client, sql).await
}

async fn run(client: &Client, sql: &str) -> Result<(), Error> {
    match client.batch_execute(&format!("begin;\n{sql};\ncommit")).await {
        Ok(()) => Ok(()),
        Err(error) => {
            client.batch_execute("rollback").await?;
            Err(error)
        }
    }
}
