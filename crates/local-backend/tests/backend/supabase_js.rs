//! The official JavaScript client, unchanged: runs `tests/supabase-js` against a backend of this process.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{OTHER, PROJECT, options};
use local_backend::{Backend, BackendOptions, ChannelRights};
use serde_json::json;

#[tokio::test]
async fn the_official_client_works_unchanged() {
    let secret = "a secret of this test, 32 bytes and more";
    let options =
        BackendOptions { jwt_secret: Some(secret.into()), channel_rights: ChannelRights::EditorSends, ..options() };
    let backend = Backend::start(options).await.expect("the backend starts");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/supabase-js");
    install(&folder);
    let far = 4_000_000_000u64;
    let agent = |project: &str| backend.sign(&json!({"role": "preview_agent", "project_id": project, "exp": far}));
    let session = backend.agent_settings();
    let mut command = Command::new("node");
    command
        // The client leaves timers behind that would hold the process for 20 s.
        .args(["--test", "--test-concurrency=1", "--test-force-exit"])
        .current_dir(&folder)
        .env("SUPABASE_URL", &session.supabase_url)
        .env("SUPABASE_ANON_KEY", &session.anon_key)
        .env("PUBLISHABLE_KEY", backend.publishable_key())
        .env("JWT_SECRET", secret)
        .env("PROJECT_ID", PROJECT)
        .env("EDITOR_TOKEN", backend.editor_token())
        .env("AGENT_TOKEN", agent(PROJECT))
        .env("OTHER_AGENT_TOKEN", agent(OTHER))
        .env("STRANGER_TOKEN", backend.sign(&json!({"role": "authenticated", "sub": OTHER, "exp": far})))
        .env("EXPIRED_TOKEN", backend.sign(&json!({"role": "authenticated", "sub": OTHER, "exp": 1_000_000_000})));
    let output = run(command).await;
    assert_passed("node --test", &output);
    println!("{}", String::from_utf8_lossy(&output.stdout));
    backend.stop().await;
}

/// `npm ci`, once: the lock file is the truth.
fn install(folder: &Path) {
    let lock = |path: PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let installed = lock(folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= lock(folder.join("package-lock.json")) {
        return;
    }
    let output = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder).output();
    assert_passed("npm ci", &output.expect("npm is installed"));
}

async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("the thread ends");
    output.expect("node is installed")
}

fn assert_passed(what: &str, output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what} failed:\n{out}\n{err}");
}
