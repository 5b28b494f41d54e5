//! The backend over a PostgreSQL of the tests' own.

use local_backend::testing::PostgresServer;

#[tokio::test]
async fn a_throw_away_server_answers_and_goes() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let url = server.database().expect("a database");
    let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.expect("connects");
    let connection = tokio::spawn(connection);
    let row = client.query_one("select current_setting('wal_level')", &[]).await.expect("an answer");
    assert_eq!(row.get::<_, &str>(0), "logical");
    let home = server.socket_directory().to_owned();
    assert!(home.exists());
    drop(server);
    assert!(!home.exists(), "nothing is left of it");
    assert!(connection.await.expect("no panic").is_err(), "the server is gone");
}
