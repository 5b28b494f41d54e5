//! The Edge Functions under real Deno, against the local backend on a PostgreSQL, with machines that are this agent.

use std::path::Path;
use std::process::Command;

use local_backend::testing::{PostgresServer, sql};
use local_backend::{Backend, BackendOptions, SeedFile};
use serde_json::json;

const SECRET: &str = "the functions' tests sign with this secret of theirs";

const WITH_FLY: [&str; 4] =
    ["tests/fly.test.ts", "tests/fly_config.test.ts", "tests/failures.test.ts", "tests/killed.test.ts"];

#[tokio::test]
async fn sessions_from_opening_a_project_to_a_machine_and_away() {
    // Whatever is not named below, so that no file is forgotten.
    run(&["tests/", &format!("--ignore={}", WITH_FLY.join(","))]).await;
}

#[tokio::test]
async fn sessions_with_fly_machines_and_failure_at_every_step() {
    run(&WITH_FLY).await;
}

/// Runs these tests under real Deno, with a backend, a project and people of their own.
async fn run(tests: &[&str]) {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let file = |path: &str, bytes: &[u8]| SeedFile { path: path.into(), bytes: bytes.to_vec() };
    let files = vec![
        file("server.js", include_bytes!("../functions/server.js")),
        file("package.json", br#"{"name": "shown", "private": true, "scripts": {"dev": "node server.js"}}"#),
        file("message.txt", b"hello"),
        file("logo.png", &[0x89, 0x50, 0, 255]),
    ];
    let database = server.database().expect("a database");
    let database_url = Some(database.clone());
    let options = BackendOptions { database_url, files, jwt_secret: Some(SECRET.into()), ..BackendOptions::default() };
    let backend = Backend::start(options).await.expect("the backend starts");
    let session = backend.agent_settings();
    // Each test takes people of its own, so that none sees another's session: `person()` in fly_support.ts counts them.
    let people = format!(
        "create temporary table people as select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid as id
             from generate_series(1, 999) n;
         insert into auth.users (id) select id from people;
         insert into public.user_profiles (id, display_name) select id, 'one of many' from people;
         insert into public.project_members (project_id, user_id, role) select '{}', id, 'editor' from people",
        session.project_id
    );
    sql(&database, &people).await.expect("people");
    let scratch = tempfile::tempdir().expect("a directory");
    let service = backend.sign(&json!({"role": "service_role", "exp": 4_000_000_000u64, "canary": "c4n4ry"}));
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("supabase/functions");
    let deno = functions.join("node_modules/.bin/deno");
    assert!(deno.exists(), "Deno is missing: npm ci --prefix supabase/functions");
    let mut command = Command::new(deno);
    command
        .args(["test", "--allow-all"])
        .args(tests)
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
    // Its own words go straight out: where it hangs, they say where.
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("joined").expect("deno runs");
    assert!(status.success(), "deno test failed, see above");
    backend.stop().await;
}
