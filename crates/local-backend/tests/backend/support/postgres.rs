//! Backends over a PostgreSQL of the tests' own.

use std::sync::OnceLock;

use local_backend::testing::PostgresServer;
use local_backend::{Backend, BackendOptions, DatabaseUrl};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::{PROJECT, options, rpc};

/// One server for all tests of this file, each in a database of its own.
pub fn database() -> DatabaseUrl {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| PostgresServer::start().expect("PostgreSQL starts")).database().expect("a database")
}

pub fn over(url: &DatabaseUrl) -> BackendOptions {
    BackendOptions { database_url: Some(url.clone()), ..options() }
}

pub async fn backend_over_postgres() -> Backend {
    Backend::start(over(&database())).await.expect("the backend starts")
}

pub async fn sql(url: &DatabaseUrl, sql: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.expect("connects");
    tokio::spawn(connection);
    client.simple_query(sql).await.expect("the statement runs")
}

pub async fn save(backend: &Backend, path: &str, content: &str) -> Value {
    let arguments = json!({"project_uuid": PROJECT, "p_file_path": path, "p_content": content});
    let (status, row) = rpc(backend, &backend.editor_token(), "upsert_project_file", arguments).await;
    assert_eq!(status, 200, "{row}");
    row
}
