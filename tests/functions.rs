//! The Edge Functions under real Deno, against the local backend on a PostgreSQL, with machines that are this agent.
#![cfg(feature = "local")]

use std::path::Path;
use std::process::Command;

use local_backend::testing::PostgresServer;
use local_backend::{Backend, Options, SeedFile};
use serde_json::json;

const SECRET: &str = "the functions' tests sign with this secret of theirs";

#[tokio::test]
async fn sessions_from_opening_a_project_to_a_machine_and_away() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let file = |path: &str, bytes: &[u8]| SeedFile { path: path.into(), bytes: bytes.to_vec() };
    let files = vec![
        file("server.js", include_bytes!("functions/server.js")),
        file("package.json", br#"{"name": "shown", "private": true, "scripts": {"dev": "node server.js"}}"#),
        file("message.txt", b"hello"),
        file("logo.png", &[0x89, 0x50, 0, 255]),
    ];
    let database_url = Some(server.database().expect("a database"));
    let options = Options { database_url, files, jwt_secret: Some(SECRET.into()), ..Options::default() };
    let backend = Backend::start(options).await.expect("the backend starts");
    let session = backend.session();
    let scratch = tempfile::tempdir().expect("a directory");
    let service = backend.sign(&json!({"role": "service_role", "exp": 4_000_000_000u64, "canary": "c4n4ry"}));
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("supabase/functions");
    let deno = functions.join("node_modules/.bin/deno");
    assert!(deno.exists(), "Deno is missing: npm ci --prefix supabase/functions");
    let mut command = Command::new(deno);
    command
        .args(["test", "--allow-all", "tests/"])
        .current_dir(&functions)
        .env("NO_COLOR", "1")
        .env("SUPABASE_URL", backend.url())
        .env("SUPABASE_ANON_KEY", &session.anon_key)
        .env("SUPABASE_SERVICE_ROLE_KEY", &service)
        .env("PREVIEW_JWT_SECRET", SECRET)
        .env("PROJECT_ID", &session.project_id)
        .env("EDITOR_TOKEN", backend.editor_token())
        .env("LOCAL_AGENT_BINARY", env!("CARGO_BIN_EXE_preview-agent"))
        .env("LOCAL_MACHINES_DIR", scratch.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("deno runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "deno test failed:\n{out}\n{err}");
    backend.stop().await;
}
