//! `dev` shows the page of each project in `fixtures/ports`, whatever port its server took, also with other scripts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::preview::{get, head_and_body};
use crate::support::{eventually_within, port};

/// Packages are installed from the registry.
const READY: Duration = Duration::from_secs(240);

struct Dev {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Dev {
    fn start(project: &str, args: &[&str]) -> Dev {
        Dev::start_changed(project, args, |_| {})
    }

    /// The project with another `dev` script.
    fn with_script(project: &str, script: &str) -> Dev {
        Dev::start_changed(project, &[], |folder| {
            let path = folder.join("package.json");
            let mut package: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            package["scripts"]["dev"] = script.into();
            std::fs::write(path, package.to_string()).unwrap();
        })
    }

    fn start_changed(project: &str, args: &[&str], change: impl FnOnce(&Path)) -> Dev {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("project");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ports").join(project), &folder);
        change(&folder);
        let port = port();
        let child = Command::new(env!("CARGO_BIN_EXE_preview-agent"))
            .arg("dev")
            .arg(&folder)
            .args(["--port", &port.to_string(), "--log-format", "json"])
            .args(args)
            .env("XDG_CACHE_HOME", home.path().join("cache"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Dev { child, port, _home: home }
    }

    /// Waits for the project's page, and checks that what it loads is there too.
    fn shows_its_page(&mut self) {
        let address = format!("127.0.0.1:{}", self.port);
        let log = self._home.path().join("log");
        eventually_within(READY, "the page", || {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            let answer = std::net::TcpStream::connect(&address).is_ok().then(|| get(&address, "/"));
            answer
                .is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.contains("the page of the fixture"))
        });
        let script = get(&address, "/src/main.js");
        assert!(head_and_body(&script).1.contains("the script of the fixture"), "{script}");
        let client = get(&address, "/@vite/client");
        assert!(client.starts_with("HTTP/1.1 200 "), "{client}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() == "node_modules" => {}
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_port_in_the_configuration() {
    Dev::start("configured-port", &[]).shows_its_page();
}

#[test]
fn a_script_that_is_not_a_plain_call() {
    Dev::start("script-port", &[]).shows_its_page();
}

#[test]
fn a_server_that_takes_its_own_port() {
    Dev::start("own-server", &[]).shows_its_page();
}

#[test]
fn a_page_beside_an_api() {
    Dev::start("api-on-port", &[]).shows_its_page();
}

#[test]
fn a_page_beside_an_api_by_scripts() {
    Dev::start("scripts-in-parallel", &[]).shows_its_page();
}

#[test]
fn a_server_that_speaks_tls() {
    Dev::start("https", &[]).shows_its_page();
}

#[test]
fn a_client_and_a_server() {
    Dev::start("client-and-server", &["--app-dir", "client"]).shows_its_page();
}

#[test]
fn a_script_with_a_port_and_a_host() {
    Dev::with_script("script-port", &format!("vite --port {} --host ::", port())).shows_its_page();
}

#[test]
fn a_server_after_another_command() {
    Dev::with_script("script-port", &format!("node -e 0 && vite --port {}", port())).shows_its_page();
}

#[test]
fn a_server_started_by_npx() {
    Dev::with_script("script-port", &format!("npx vite --port {}", port())).shows_its_page();
}

#[test]
fn a_page_beside_an_api_in_the_background() {
    Dev::with_script("api-on-port", "node api.js & vite").shows_its_page();
}

#[test]
fn a_server_that_takes_the_port_of_the_environment() {
    let change = |folder: &Path| {
        let path = folder.join("server/index.js");
        let server = std::fs::read_to_string(&path).unwrap();
        let changed = server.replace("listen(0,", "listen(process.env.PORT || 5000,");
        assert_ne!(server, changed);
        std::fs::write(path, changed).unwrap();
    };
    Dev::start_changed("own-server", &[], change).shows_its_page();
}
