//! The whole loop: the official client saves, a PostgreSQL commits, the real binary has the file.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::support::world::World;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use local_backend::testing::PostgresServer;
use serde_json::Value;

const SECRET: &str = "the secret of this loop, 32 bytes and more";

#[test]
fn what_the_official_client_saves_is_on_disk() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let in_memory = loop_over(&World::with(|options| options.jwt_secret = Some(SECRET.into())));
    let postgres = loop_over(&World::with(|options| {
        options.jwt_secret = Some(SECRET.into());
        options.database_url = Some(server.database().expect("a database"));
    }));
    // Past the capture of what tests print: these times are to be seen.
    let times = format!("from the call to the disk: store in memory {in_memory}, PostgreSQL {postgres}\n");
    std::io::stderr().write_all(times.as_bytes()).expect("standard error is open");
}

/// What the script measured, once everything that it saved, and nothing else, is on disk.
fn loop_over(world: &World) -> Value {
    let agent = world.agent();
    let session = world.backend().agent_settings();
    let output = Command::new("node")
        .arg("loop.js")
        .current_dir(client())
        .env("SUPABASE_URL", &session.supabase_url)
        .env("SUPABASE_ANON_KEY", &session.anon_key)
        .env("PROJECT_ID", &session.project_id)
        .env("OWNER_ID", owner(&world.backend().editor_token()))
        .env("JWT_SECRET", SECRET)
        .env("PROJECT_DIR", agent.project())
        .env("SAVES", "60")
        .output()
        .expect("node is installed");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    world.in_sync(&agent);
    assert_eq!(agent.stop().code(), Some(143));
    serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
}

/// The folder of the client, its packages installed as its lock file has them.
fn client() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supabase-js");
    if !folder.join("node_modules/.package-lock.json").exists() {
        let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).status();
        assert!(installed.expect("npm is installed").success(), "npm ci");
    }
    folder
}

/// The `sub` of a token.
fn owner(token: &str) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a JWT")).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("claims");
    claims["sub"].as_str().expect("a sub").to_owned()
}
