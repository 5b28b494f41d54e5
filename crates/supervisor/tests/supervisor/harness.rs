//! A supervisor with a project in a temporary directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use supervisor::dev_server::{Config, DevServer, DevServerEvent, DevServerStatus, start};
use supervisor::init::Init;
use supervisor::process::Environment;
use sync_core::ProjectPath;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The longest time that a test waits. Nothing here takes nearly as long.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub struct Harness {
    pub server: DevServer,
    pub events: mpsc::Receiver<DevServerEvent>,
    pub port: u16,
    dir: TempDir,
}

impl Harness {
    /// Runs `node server.js` in an empty project after `files_ready`. `change` changes the settings.
    pub async fn new(change: impl FnOnce(&mut Config)) -> Harness {
        let dir = tempfile::tempdir().expect("a directory");
        let project = dir.path().join("project");
        std::fs::create_dir(&project).expect("made");
        let port = free_port().await;
        let environment = Environment::pick(std::env::vars_os());
        let mut config = Config::new(project, dir.path().join("state"), port, environment);
        config.command = Some(vec!["node".into(), "server.js".into()]);
        config.limits.restarts = 3;
        config.limits.backoff = Duration::from_millis(50);
        config.limits.backoff_max = Duration::from_millis(200);
        config.limits.settle = Duration::from_millis(50);
        change(&mut config);
        let init = Init::start().expect("signal handlers");
        let (server, events) = start(init, config);
        Harness { server, events, port, dir }
    }

    pub fn project(&self) -> &'static Path {
        Box::leak(self.dir.path().join("project").into_boxed_path())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.project().join(name)
    }

    /// Writes a file beside the project and renames it into place, as the agent does.
    pub fn replace(&self, name: &str, content: &str) {
        let staged = self.dir.path().join("staged");
        std::fs::write(&staged, content).expect("written");
        std::fs::rename(staged, self.path(name)).expect("renamed");
    }

    /// Replaces a file and reports the change.
    pub fn edit(&self, name: &str, content: &str) {
        self.replace(name, content);
        self.server.changed(vec![ProjectPath::parse(name).expect("a good path")]);
    }

    /// As [`Harness::edit`], for a path that was edited a moment ago: Vite misses changes while it restarts, so the file's
    /// time is changed again a second later, as the run loop does.
    pub async fn edit_again(&self, name: &str, content: &str) {
        self.edit(name, content);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let file = std::fs::File::open(self.path(name)).expect("the file");
        file.set_modified(std::time::SystemTime::now()).expect("touched");
    }

    /// The first event that `pick` takes.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(DevServerEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let event = self.events.recv().await.expect("a supervisor");
                seen.push(format!("{event:?}"));
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| {
            panic!("the event did not come; seen:\n{}", seen[seen.len().saturating_sub(50)..].join("\n"))
        })
    }

    pub async fn ready(&mut self) -> Duration {
        let ready = self.until(|event| match event {
            DevServerEvent::Ready { duration } => Some(duration),
            _ => None,
        });
        ready.await
    }

    pub async fn status_until(&self, fits: impl Fn(&DevServerStatus) -> bool) -> DevServerStatus {
        let started = Instant::now();
        loop {
            let status = self.server.status();
            if fits(&status) {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "{status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the supervisor. The directory is removed when the returned value is dropped.
    pub async fn stop(self) -> (u16, TempDir) {
        tokio::time::timeout(DEADLINE, self.server.stop()).await.expect("stopped");
        (self.port, self.dir)
    }
}

pub async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

pub async fn port_is_free(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_err() && TcpStream::connect(("::1", port)).await.is_err()
}

/// The whole HTTP answer, head and body.
pub async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}
