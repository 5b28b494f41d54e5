//! What the backend makes of the database that it is given, and what it leaves.

use std::time::Duration;

use crate::support::postgres::{database, over, save, sql};
use crate::support::{Client, OTHER, PATIENCE, TOPIC, rpc};
use local_backend::testing::PostgresServer;
use local_backend::{Backend, BackendOptions, DatabaseUrl, SeedFile};
use serde_json::json;
use tokio_postgres::NoTls;

#[tokio::test]
async fn a_test_server_answers_and_is_removed() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let url = server.database().expect("a database");
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.expect("connects");
    let connection = tokio::spawn(connection);
    let row = client.query_one("select current_setting('wal_level')", &[]).await.expect("an answer");
    assert_eq!(row.get::<_, &str>(0), "logical");
    let home = server.socket_directory().to_owned();
    assert!(home.exists());
    drop(server);
    assert!(!home.exists(), "nothing is left of it");
    assert!(connection.await.expect("no panic").is_err(), "the server is gone");
}

#[tokio::test]
async fn a_second_start_finds_everything_and_runs_no_migration() {
    let url = database();
    let files = vec![
        SeedFile { path: "a.txt".into(), bytes: b"1".to_vec() },
        SeedFile { path: "logo.png".into(), bytes: vec![0, 159, 146, 150] },
    ];
    let first = Backend::start(BackendOptions { files: files.clone(), ..over(&url) }).await.expect("starts");
    save(&first, "b.txt", "2").await;
    let before = first.store().head();
    first.stop().await;
    let applied = "select string_agg(applied_at::text, ' ') from local_backend.migrations";
    let of_the_first = format!("{:?}", sql(&url, applied).await);
    let second = Backend::start(BackendOptions { files, ..over(&url) }).await.expect("starts again");
    assert_eq!(second.store().head(), before, "equal content takes no revision");
    assert_eq!(format!("{:?}", sql(&url, applied).await), of_the_first);
    let paths: Vec<String> = second.store().current().into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["a.txt", "b.txt", "logo.png"]);
    assert_eq!(second.store().newest("logo.png").and_then(|row| row.bytes).as_deref(), Some(&[0, 159, 146, 150][..]));
    save(&second, "b.txt", "3").await;
}

#[tokio::test]
async fn an_unusable_database_is_refused_without_its_url() {
    let replica = PostgresServer::start_with("-c wal_level=replica").expect("PostgreSQL starts");
    let mut refused = Vec::new();
    refused.push((replica.database().expect("a database"), "wal_level"));
    let url = database();
    sql(&url, "do $$ begin if not exists (select from pg_roles where rolname = 'plain') then create role plain login password 'throw-away'; end if; end $$").await;
    let plain: DatabaseUrl = url.expose().replace("supabase_admin", "plain").parse().expect("an address");
    refused.push((plain, "REPLICATION"));
    let half = database();
    sql(&half, "create schema auth").await;
    refused.push((half, "neither"));
    let gone: DatabaseUrl = "postgres://me:throw-away@127.0.0.1:1/x".parse().expect("an address");
    refused.push((gone, "connect"));
    for (url, word) in refused {
        let error = Backend::start(over(&url)).await.err().expect("refused").to_string();
        assert!(error.contains(word) && !error.contains("throw-away"), "{error}");
    }
}

#[tokio::test]
async fn the_stream_is_restarted_after_it_was_lost() {
    let url = database();
    let backend = Backend::start(over(&url)).await.expect("the backend starts");
    let mut changes = backend.store().subscribe();
    save(&backend, "before", "1").await;
    assert_eq!(tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change").revision, 1);
    // Of this database alone: other tests have theirs on the same server. The slot is in use until its sender is gone.
    sql(&url, "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()")
        .await;
    save(&backend, "while down", "1").await;
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change");
    assert_eq!((change.revision, change.files[0].path.as_str()), (2, "while down"));
    save(&backend, "after", "1").await;
    let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change");
    assert_eq!((change.revision, change.files[0].path.as_str()), (3, "after"));
    loop {
        let frame = client.next().await;
        if frame["payload"]["payload"]["revision"] == 3 {
            break;
        }
    }
}

#[tokio::test]
async fn a_dropped_backend_has_no_connection() {
    let url = database();
    let backend = Backend::start(over(&url)).await.expect("the backend starts");
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    save(&backend, "a", "1").await;
    backend.stop().await;
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.expect("connects");
    tokio::spawn(connection);
    let left =
        "select (select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())
        + (select count(*) from pg_replication_slots where database = current_database())";
    let gone = async {
        while client.query_one(left, &[]).await.expect("an answer").get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("no connection and no slot is left");
}

#[tokio::test]
async fn a_changed_migration_is_run_again_with_all_later_ones() {
    let url = database();
    Backend::start(over(&url)).await.expect("starts").stop().await;
    sql(&url, "update local_backend.migrations set sha256 = 'older', applied_at = '2020-01-01';").await;
    sql(&url, "delete from local_backend.migrations where name < '20261121100900'; ").await;
    let backend = Backend::start(over(&url)).await.expect("starts again");
    save(&backend, "a", "1").await;
    let answer =
        sql(&url, "select count(*) from local_backend.migrations where applied_at < '2021-01-01' or sha256 = 'older'")
            .await;
    let old = answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    assert_eq!(old.as_deref(), Some("0"));
}

/// A database as Supabase's hosting hands it out, as far as that can be played: its schemas are there, and `postgres`, who
/// is no superuser, may make policies on the tables of Realtime and storage.
#[tokio::test]
async fn the_owner_of_a_supabase_database_needs_no_superuser() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let url = server.database().expect("a database");
    let standins = concat!(
        include_str!("../../../../tests/db/standins/hosted.sql"),
        include_str!("../../../../tests/db/standins/schemas.sql"),
        "alter role postgres password 'throw-away';
         grant authenticator, supabase_realtime_admin, supabase_storage_admin to postgres;"
    );
    sql(&url, standins).await;
    let owner: DatabaseUrl = url.expose().replace("supabase_admin", "postgres").parse().expect("an address");
    let files = vec![SeedFile { path: "logo.png".into(), bytes: vec![0, 159, 146, 150] }];
    let backend = Backend::start(BackendOptions { files, ..over(&owner) }).await.expect("starts");
    let mut client = Client::v1(&backend).await;
    client.join(TOPIC, &backend.agent_settings().realtime_token).await;
    save(&backend, "a", "1").await;
    assert_eq!(client.next().await["payload"]["payload"]["file_path"], "a");
    let (status, error) =
        rpc(&backend, &backend.agent_settings().realtime_token, "project_head", json!({"project_uuid": OTHER})).await;
    assert_eq!((status, &error["code"]), (403, &json!("42501")));
}
