use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::digest::hex;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// What a Supabase project has and a plain PostgreSQL has not.
const ROLES: &str = include_str!("../../../../tests/db/standins/hosted.sql");
const SCHEMAS: &str = include_str!("../../../../tests/db/standins/schemas.sql");
/// The oldest server that the migrations are made for.
const OLDEST: i32 = 150_000;
/// Roles belong to the whole server: who installs into two of its databases at once may collide, and tries again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What is recorded, and where files' bytes lie: nobody but the backend sees it.
const OWN: &str = "
    create schema if not exists local_backend;
    revoke all on schema local_backend from public;
    create table if not exists local_backend.migrations (
        name text primary key, sha256 text not null, applied_at timestamptz not null default now());
    create table if not exists local_backend.objects (name text primary key, bytes bytea not null)";

/// Why a database cannot be used. No text quotes the address.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("cannot connect to the database: {0}")]
    Connect(#[source] Error),
    #[error("the database's server is PostgreSQL {0}; 15 or newer is needed")]
    TooOld(String),
    #[error(
        "the database's server has wal_level = {0}; events need `alter system set wal_level = logical` and a restart of it"
    )]
    WalLevel(String),
    #[error("the user {user:?} lacks a right in the database: {right}")]
    Right { user: String, right: &'static str },
    #[error(
        "the database has the schema {there:?} but no schema {missing:?}: it is neither a Supabase project's nor a plain \
         one; give a new database"
    )]
    HalfSupabase { there: &'static str, missing: &'static str },
    #[error("{step}: {error}")]
    Step {
        step: String,
        #[source]
        error: Said,
    },
    #[error("the slot for events: {0}")]
    Stream(#[source] std::io::Error),
}

/// The database's error in full; the driver's own text is only `db error`.
#[derive(Debug, thiserror::Error)]
pub struct Said(pub Error);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_db_error() {
            Some(refused) => write!(f, "{} ({})", refused.message(), refused.code().code()),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What was found out of the server.
pub struct Rights {
    /// May become anybody, as a plain server's superuser.
    pub superuser: bool,
}

/// Checks that the database can be used, makes what it lacks, and runs the migrations that are new or changed.
pub async fn install(client: &Client) -> Result<Rights, InstallError> {
    let rights = check(client).await?;
    let step = |step: &str| {
        let step = step.to_owned();
        move |error| InstallError::Step { step, error: Said(error) }
    };
    // Of two that start on one database the second waits.
    let line = "select pg_advisory_lock(hashtextextended('local_backend', 0))";
    client.batch_execute(line).await.map_err(step("waiting for another backend"))?;
    stand_in(client, &rights).await?;
    client.batch_execute(OWN).await.map_err(step("making the schema local_backend"))?;
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
        // Realtime keeps its messages for 72 hours; on a plain server nobody else tidies up.
        let old = "delete from realtime.messages where inserted_at < now() - interval '72 hours'";
        client.batch_execute(old).await.map_err(step("removing old messages"))?;
    }
    let line = "select pg_advisory_unlock(hashtextextended('local_backend', 0))";
    client.batch_execute(line).await.map_err(step("letting another backend in"))?;
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
        let right = "REPLICATION, by which events are read (on a plain server: give the superuser's address)";
        return Err(InstallError::Right { user, right });
    }
    if !superuser && !row.get::<_, bool>(6) {
        let right = "membership in the role authenticator (on a plain server: give the superuser's address)";
        return Err(InstallError::Right { user, right });
    }
    Ok(Rights { superuser })
}

/// Supabase's own roles and schemas, where none of the schemas is there.
async fn stand_in(client: &Client, rights: &Rights) -> Result<(), InstallError> {
    let step = |error| InstallError::Step { step: "looking for Supabase's schemas".into(), error: Said(error) };
    let asked = "select to_regnamespace('auth') is not null, to_regnamespace('realtime') is not null,
        to_regnamespace('storage') is not null";
    let row = client.query_one(asked, &[]).await.map_err(step)?;
    let found: Vec<(&'static str, bool)> =
        ["auth", "realtime", "storage"].into_iter().enumerate().map(|(index, name)| (name, row.get(index))).collect();
    let there = found.iter().find(|(_, there)| *there).map(|(name, _)| *name);
    let missing = found.iter().find(|(_, there)| !*there).map(|(name, _)| *name);
    match (there, missing) {
        (_, None) => Ok(()),
        (Some(there), Some(missing)) => Err(InstallError::HalfSupabase { there, missing }),
        (None, Some(_)) if !rights.superuser => Err(InstallError::Right {
            user: "of this address".into(),
            right: "SUPERUSER, which stand-ins for Supabase's schemas need",
        }),
        (None, Some(_)) => {
            tracing::info!("the database is a plain one: making stand-ins for Supabase's own roles and schemas");
            let sql = format!("{ROLES};{SCHEMAS}");
            transaction(client, &sql).await.map_err(|error| InstallError::Step {
                step: "making stand-ins for Supabase's roles and schemas".into(),
                error: Said(error),
            })
        }
    }
}

/// From the first migration on that is new or not what it was: each may be run again, and later ones rest on earlier.
async fn migrate(client: &Client, rights: &Rights) -> Result<(), InstallError> {
    let failed = |name: &str| {
        let step = format!("the migration {name}");
        move |error| InstallError::Step { step, error: Said(error) }
    };
    let recorded = "select name, sha256 from local_backend.migrations";
    let recorded = client.query(recorded, &[]).await.map_err(failed("list"))?;
    let recorded: Vec<(String, String)> = recorded.iter().map(|row| (row.get(0), row.get(1))).collect();
    let hash = |sql: &str| hex(&Sha256::digest(sql.as_bytes()));
    let is_recorded = |(name, sql): &(&str, &str)| recorded.iter().any(|(done, sha)| done == name && *sha == hash(sql));
    for (name, sql) in MIGRATIONS.iter().skip_while(|migration| is_recorded(migration)) {
        // On hosted an extension lets `postgres` make policies on tables of others; the superuser plays it here.
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

/// All of `sql` or nothing, again where another database of the server was in the way.
async fn transaction(client: &Client, sql: &str) -> Result<(), Error> {
    for _ in 1..TRIES {
        let Err(error) = run(client, sql).await else { return Ok(()) };
        let in_the_way = [
            SqlState::DUPLICATE_OBJECT,
            SqlState::UNIQUE_VIOLATION,
            SqlState::INTERNAL_ERROR,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if !error.code().is_some_and(|code| in_the_way.contains(code)) {
            return Err(error);
        }
        tracing::debug!(error = %Said(error), "trying again");
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
