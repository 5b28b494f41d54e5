//! `preview-agent serve`, as a user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

/// A running `serve`, killed where a test ends early.
struct Serve {
    child: Child,
    env: BTreeMap<String, String>,
}

impl Serve {
    fn start(args: &[&str]) -> Serve {
        let mut child = command().args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut env = BTreeMap::new();
        while !env.contains_key("EDITOR_TOKEN") {
            let line = lines.next().expect("the settings are printed").unwrap();
            if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('{')) {
                env.insert(name.to_owned(), value.to_owned());
            }
        }
        // The log is read on, or the program would have nowhere to write.
        std::thread::spawn(move || lines.for_each(drop));
        Serve { child, env }
    }

    fn rpc(&self, function: &str, mut body: Value) -> Value {
        body["project_uuid"] = json!(self.env["PROJECT_ID"]);
        let body = body.to_string();
        let host = self.env["SUPABASE_URL"].strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let (key, token) = (&self.env["SUPABASE_ANON_KEY"], &self.env["EDITOR_TOKEN"]);
        write!(
            stream,
            "POST /rest/v1/rpc/{function} HTTP/1.1\r\nhost: {host}\r\napikey: {key}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{function}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{function}: {error}: {body}"))
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < DEADLINE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preview-agent"));
    command.arg("serve").env_remove("LOG_FORMAT").env_remove("LOG_LEVEL").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

/// Standard error, which must be one line.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

#[test]
fn a_folder_is_served_and_kept_equal_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let env_file = tempfile::tempdir().unwrap();
    let env_file = env_file.path().join("editor.env");
    fs::write(dir.path().join("a.txt"), "one").unwrap();
    let serve = Serve::start(&[path(dir.path()), "--listen", "127.0.0.1:0", "--env-file", path(&env_file)]);
    let changes = || serve.rpc("list_project_changes", json!({"since_revision": 0, "with_content": true}));
    assert_eq!(changes()["files"][0]["content"], "one");
    assert!(fs::read_to_string(&env_file).unwrap().contains(&serve.env["EDITOR_TOKEN"]));

    fs::write(dir.path().join("a.txt"), "two").unwrap();
    serve.until("saved", || changes()["files"][0]["content"] == "two");

    let saved =
        json!({"p_file_path": "b.txt", "p_content": "by another", "p_file_type": "text", "expected_version": null});
    serve.rpc("upsert_project_file", saved);
    serve.until("written back", || fs::read(dir.path().join("b.txt")).is_ok_and(|text| text == b"by another"));

    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        let status = serve.terminate();
        assert_eq!((status.code(), status.signal()), (Some(143), None));
        assert!(!env_file.exists());
    }
}

#[test]
fn a_taken_port_names_the_port_and_the_flag() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let output = output(&["--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!(output.status.code(), Some(69));
    let complaint = complaint(&output);
    assert!(complaint.contains(&port.to_string()) && complaint.contains("--listen"), "{complaint}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let output = output(&["/no/such/folder", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(complaint(&output).contains("/no/such/folder"));
}

#[test]
fn a_project_in_a_database_outlives_the_backend() {
    let server = local_backend::testing::PostgresServer::start().expect("PostgreSQL starts");
    let url = server.database().expect("a database");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "one").unwrap();
    fs::write(dir.path().join("logo.png"), [0, 159, 146, 150]).unwrap();
    let args = [path(dir.path()), "--listen", "127.0.0.1:0", "--database-url", url.expose()];
    let serve = Serve::start(&args);
    let project = serve.env["PROJECT_ID"].clone();
    fs::write(dir.path().join("a.txt"), "two").unwrap();
    let newest = |serve: &Serve| serve.rpc("list_project_changes", json!({"since_revision": 0}))["files"].clone();
    serve.until("saved", || {
        let files = newest(&serve);
        files.as_array().unwrap().iter().any(|file| file["content"] == "two" && file["version"] == 2)
    });
    serve.rpc("upsert_project_file", json!({"p_file_path": "b.txt", "p_content": "by another"}));
    serve.until("written back", || fs::read(dir.path().join("b.txt")).is_ok_and(|text| text == b"by another"));
    let before = newest(&serve);
    assert_eq!(serve.terminate().code(), Some(143));

    // What the folder has lost meanwhile comes back, what it has changed is saved.
    fs::remove_file(dir.path().join("b.txt")).unwrap();
    fs::remove_file(dir.path().join("logo.png")).unwrap();
    let serve = Serve::start(&args);
    assert_eq!(serve.env["PROJECT_ID"], project);
    assert_eq!(newest(&serve), before);
    serve.until("written back", || fs::read(dir.path().join("b.txt")).is_ok_and(|text| text == b"by another"));
    serve
        .until("written back", || fs::read(dir.path().join("logo.png")).is_ok_and(|bytes| bytes == [0, 159, 146, 150]));
    drop(serve);
    drop(server);
    let output = output(&args);
    assert_eq!(output.status.code(), Some(69));
    let complaint = complaint(&output);
    assert!(complaint.contains("database") && !complaint.contains("throw-away"), "{complaint}");
}

#[test]
fn an_address_that_is_none_is_named_and_not_quoted() {
    let output = output(&["--listen", "127.0.0.1:0", "--database-url", "postgres//me:hush@host/x"]);
    assert_eq!(output.status.code(), Some(64));
    let complaint = complaint(&output);
    assert!(complaint.contains("--database-url") && !complaint.contains("hush"), "{complaint}");
}
