use clap::Parser;

use super::*;

/// The flags of `run` alone.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    run: RunArgs,
}

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

/// The flags after `preview-agent`, in an environment.
fn resolve(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let flags = Flags::try_parse_from(["preview-agent"].iter().chain(flags)).expect("flags that parse");
    Config::resolve(flags.run, environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn said(flags: &[&str], environment: &[(&str, &str)]) -> String {
    resolve(flags, environment).expect_err("a refusal").to_string()
}

fn jwt(role: &str, project: &str) -> String {
    use base64::Engine;
    let part = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
    let claims = format!(r#"{{"role":"{role}","project_id":"{project}","session_id":"s","iat":1,"exp":3601}}"#);
    format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#.into()), part(claims))
}

const IDS: [&str; 4] = ["--project-id", PROJECT, "--session-id", "s1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    IDS.iter().chain(more).copied().collect()
}

#[test]
fn a_local_snapshot_is_enough() {
    let config = resolve(&with(&["--snapshot", "x.zip"]), &[]).unwrap();
    assert_eq!(config.project_dir, Path::new("/app/project"));
    assert_eq!(config.state_dir, Path::new("/app/.preview-agent"));
    assert!(config.supabase.is_none());
    assert!(matches!(config.snapshot, Some(SnapshotSource::File(file)) if file.is_absolute()));
}

#[test]
fn names_what_is_missing() {
    assert_eq!(said(&[], &[]), "PROJECT_ID (--project-id) is required; see --help");
    assert_eq!(said(&["--project-id", PROJECT], &[]), "SESSION_ID (--session-id) is required; see --help");
    assert!(said(&IDS, &[]).contains("nothing to hydrate from"));
    let token = jwt("preview_agent", PROJECT);
    assert_eq!(
        said(&with(&["--supabase-url", "https://x.test"]), &[("REALTIME_TOKEN", &token)]),
        "SUPABASE_ANON_KEY is required; see --help"
    );
}

#[test]
fn names_what_is_wrong() {
    assert!(
        said(&["--project-id", "nope", "--session-id", "s"], &[]).starts_with("PROJECT_ID: \"nope\" is not a UUID")
    );
    assert!(said(&with(&["--supabase-url", "ftp://x"]), &[]).starts_with("SUPABASE_URL: \"ftp://x\" is not"));
    for (setting, flags) in [
        ("STATE_DIR", &["--project-dir", "/p", "--state-dir", "/p/state", "--snapshot", "x"]),
        ("APP_DIR", &["--app-dir", "../x", "--snapshot", "x", "--preview-port", "1"]),
        ("PREVIEW_PORT", &["--preview-port", "0", "--snapshot", "x", "--project-dir", "/p"]),
    ] {
        assert!(said(&with(flags), &[]).starts_with(setting), "{setting}");
    }
}

#[test]
fn a_secret_never_stands_in_an_error() {
    let said = said(&IDS, &[("SNAPSHOT_URL", "hunter2")]);
    assert!(said.starts_with("SNAPSHOT_URL:") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_flag_wins_over_the_environment() {
    let config = resolve(&with(&["--snapshot", "/x.zip"]), &[("SNAPSHOT_URL", "https://x.test/y.zip")]).unwrap();
    assert!(matches!(config.snapshot, Some(SnapshotSource::File(_))));
}

#[test]
fn refuses_service_keys_wherever_they_are() {
    let service = jwt("service_role", PROJECT);
    for (variable, value) in [
        ("SUPABASE_SERVICE_ROLE_KEY", "x"),
        ("SUPABASE_SECRET_KEY", "x"),
        ("SUPABASE_SECRET_KEYS", "{}"),
        ("ANYTHING", "sb_secret_abc"),
        ("SUPABASE_ANON_KEY", &service),
        ("REALTIME_TOKEN", &service),
    ] {
        let said = said(&with(&["--snapshot", "x"]), &[(variable, value)]);
        assert!(said.starts_with(variable) && said.contains("service key"), "{variable}: {said}");
    }
}

#[test]
fn refuses_a_token_for_another_project() {
    let other = jwt("preview_agent", "22222222-2222-4222-8222-222222222222");
    let flags = with(&["--supabase-url", "https://x.test"]);
    assert!(said(&flags, &[("REALTIME_TOKEN", &other)]).starts_with("REALTIME_TOKEN:"));
}

#[test]
fn children_inherit_no_secret() {
    let token = jwt("preview_agent", PROJECT);
    let secrets = [
        ("SNAPSHOT_URL", "https://x.test/secret.zip"),
        ("REALTIME_TOKEN", token.as_str()),
        ("SUPABASE_ANON_KEY", "sb_publishable_x"),
        ("STATUS_TOKEN", "hunter2"),
        ("PATH", "/bin"),
    ];
    let config = resolve(&with(&["--supabase-url", "https://x.test"]), &secrets).unwrap();
    assert_eq!(config.environment.into_iter().collect::<Vec<_>>(), [("PATH".to_owned(), "/bin".to_owned())]);
}

#[test]
fn the_dev_server_command_stands_after_two_dashes() {
    let config = resolve(&with(&["--snapshot", "x", "--", "node", "server.js", "--port"]), &[]).unwrap();
    assert_eq!(config.dev_server.unwrap(), ["node", "server.js", "--port"]);
}
