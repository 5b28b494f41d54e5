//! What can be typed, and how a refusal ends.

use std::process::{Command, Output};

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

fn agent(args: &[&str], env: &[(&str, &str)]) -> Output {
    let path = std::env::var_os("PATH").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_preview-agent"));
    command.args(args).env_clear().env("PATH", path).envs(env.iter().copied()).output().unwrap()
}

fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = agent(args, env);
    assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(output.stdout.is_empty(), "nothing is started");
    said
}

#[test]
fn help_names_every_setting() {
    let output = agent(&["--help"], &[]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for setting in [
        "PROJECT_ID",
        "SESSION_ID",
        "SNAPSHOT_URL",
        "--snapshot",
        "REALTIME_TOKEN",
        "SUPABASE_URL",
        "SUPABASE_ANON_KEY",
        "SESSION_URL",
        "PROJECT_DIR",
        "APP_DIR",
        "STATE_DIR",
        "PREVIEW_PORT",
        "STATUS_ADDR",
        "STATUS_TOKEN",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "dev",
        "serve",
        "snapshot",
    ] {
        assert!(help.contains(setting), "{setting} is missing from --help");
    }
    for subcommand in ["run", "dev", "serve", "snapshot"] {
        assert!(agent(&[subcommand, "--help"], &[]).status.success(), "{subcommand}");
    }
    assert!(agent(&["--version"], &[]).status.success());
}

#[test]
fn one_line_names_the_setting() {
    let ids = ["--project-id", PROJECT, "--session-id", "s"];
    let with = |more: &[&'static str]| ids.iter().chain(more).copied().collect::<Vec<_>>();
    assert!(refused(&[], &[]).contains("PROJECT_ID"));
    assert!(refused(&["run"], &[("PROJECT_ID", PROJECT)]).contains("SESSION_ID"));
    assert!(refused(&["--project-id", "x", "--session-id", "s"], &[]).contains("PROJECT_ID"));
    assert!(refused(&with(&["--no-such-flag"]), &[]).contains("--no-such-flag"));
    assert!(refused(&with(&["--preview-port", "70000"]), &[]).contains("--preview-port"));
    assert!(refused(&with(&["--status-addr", "nowhere"]), &[]).contains("--status-addr"));
    assert!(refused(&with(&["--snapshot", "x.zip", "--log-level", "=["]), &[]).contains("LOG_LEVEL"));
    assert!(refused(&with(&[]), &[]).contains("SNAPSHOT_URL"));
    assert!(refused(&["frobnicate"], &[]).contains("frobnicate"));
    assert!(refused(&["dev"], &[]).contains("DIR"));
    assert!(refused(&["snapshot", "."], &[]).contains("--out"));
}

#[test]
fn a_service_key_is_refused_and_not_printed() {
    let args = ["--project-id", PROJECT, "--session-id", "s", "--snapshot", "x.zip"];
    let said = refused(&args, &[("SOME_KEY", "sb_secret_canary")]);
    assert!(said.contains("SOME_KEY") && !said.contains("canary"), "{said}");
}

#[test]
fn nothing_is_written_where_settings_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("project");
    refused(&["--project-id", PROJECT, "--session-id", "s", "--project-dir", dir.to_str().unwrap()], &[]);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}
