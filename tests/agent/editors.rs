//! The editors' TypeScript module, built and type-checked, through the official client against both stores.

use std::path::{Path, PathBuf};
use std::process::Command;

use local_backend::testing::PostgresServer;
use local_backend::{Backend, BackendOptions, DatabaseUrl, FaultApi};
use serde_json::json;

/// Built once; then both stores at the same time, each with a process of its own.
#[tokio::test]
async fn the_module_for_editors_holds_over_both_stores() {
    npm("building", Command::new("npm").args(["run", "pretest", "--silent"]));
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let database = server.database().expect("a database");
    tokio::join!(over("memory", None), over("PostgreSQL", Some(database)));
}

async fn over(store: &'static str, database_url: Option<DatabaseUrl>) {
    let backend =
        Backend::start(BackendOptions { database_url, fault_api: FaultApi::Served, ..BackendOptions::default() })
            .await
            .expect("the backend starts");
    let session = backend.agent_settings();
    let (other, far) = ("6a1f3a52-4f7e-4f0b-9a1c-0e9d3f9a7c11", 4_000_000_000u64);
    let stranger = |expiry: u64| backend.sign(&json!({"role": "authenticated", "sub": other, "exp": expiry}));
    let mut command = Command::new("npm");
    command
        .args(["run", "test:built", "--silent"])
        .env("STORE", store)
        .env("SUPABASE_URL", &session.supabase_url)
        .env("SUPABASE_ANON_KEY", &session.anon_key)
        .env("PROJECT_ID", &session.project_id)
        .env("EDITOR_TOKEN", backend.editor_token())
        .env("AGENT_TOKEN", &session.realtime_token)
        .env("STRANGER_TOKEN", stranger(far))
        .env("EXPIRED_TOKEN", stranger(1_000_000_000));
    let said = tokio::task::spawn_blocking(move || npm(store, &mut command)).await.expect("joined");
    println!("over {store}:\n{said}");
    backend.stop().await;
}

/// Runs it in the module's folder, its packages installed as its lock file has them, and gives what it printed.
fn npm(what: &str, command: &mut Command) -> String {
    let folder = folder();
    if !folder.join("node_modules/.package-lock.json").exists() {
        let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).status();
        assert!(installed.expect("npm is installed").success(), "npm ci");
    }
    let output = command.current_dir(&folder).env("NO_COLOR", "1").output().expect("npm is installed");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: npm failed:\n{out}\n{err}");
    out.into_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/project-files")
}
