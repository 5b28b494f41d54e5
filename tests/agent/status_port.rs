//! The status port against clients that hold connections, and against pages of other names (DNS rebinding).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::{Agent, eventually};

/// One request with these header lines: its status and body.
fn request(addr: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn health(addr: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_preview-agent"))
        .args(["health", "--status-addr", addr])
        .env_clear()
        .output()
        .unwrap()
}

/// The soft and the hard limit of open files of a process, from `/proc`.
#[cfg(target_os = "linux")]
fn open_files_limits(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    (words[3].to_owned(), words[4].to_owned())
}

/// An agent that may have at most 1,024 open files.
fn agent_with_few_files(world: &World) -> Agent {
    let mut start = world.start();
    start.through = ["sh", "-c", "ulimit -n 1024 && exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let mut agent = start.run();
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
    agent
}

#[test]
fn half_sent_requests_stop_neither_health_nor_edits() {
    let world = World::new();
    let mut agent = agent_with_few_files(&world);
    let addr = agent.status_addr();
    // Some are refused or closed early; each that the agent accepts stays open on this side.
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..1_000 {
        if let Ok(mut stream) = TcpStream::connect(&addr) {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-more: ");
            held.push(stream);
        }
    }
    assert!(held.len() > 900, "only {} connections were made", held.len());
    let output = health(&addr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.save("src/during.txt", "saved while the port is flooded");
    agent.wait_for("file_applied");
    world.in_sync(&agent);
    let output = health(&addr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(held);
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn a_half_sent_request_is_ended() {
    let world = World::new();
    let mut agent = world.agent();
    let mut stream = TcpStream::connect(agent.status_addr()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").unwrap();
    stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the connection is closed");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_agent_may_open_as_many_files_as_the_system_allows() {
    let world = World::new();
    let mut start = world.start();
    start.through = ["sh", "-c", "ulimit -S -n 256 && exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let mut agent = start.run();
    agent.wait_for("channel_joined");
    let (soft, hard) = open_files_limits(agent.pid());
    assert_eq!(soft, hard);
    // A program that closes all descriptors up to its limit would take minutes with the agent's.
    agent.wait_for("dev_server_start");
    let dev_server = agent.status()["dev_server"]["pid"].as_u64().unwrap();
    eventually("the dev server's limit is the one of the start", || {
        open_files_limits(u32::try_from(dev_server).unwrap()) == ("256".to_owned(), hard.clone())
    });
}

#[test]
fn other_host_names_are_refused() {
    let world = World::new();
    let mut agent = world.start().arg("--status-hosts").arg("agent.internal,.fleet.example").run();
    agent.wait_for("channel_joined");
    let addr = agent.status_addr();
    let port = addr.rsplit_once(':').unwrap().1.to_owned();
    let with_port = |name: &str| format!("host: {name}:{port}");
    let refused =
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "fleet.example.evil", "xfleet.example"];
    for path in ["/status", "/logs", "/readyz", "/metrics"] {
        for name in refused {
            let (status, body) = request(&addr, path, &[&with_port(name)]);
            assert_eq!(status, 421, "{path} for {name}: {body}");
            assert_eq!(body.lines().count(), 1, "{body}");
        }
        let no_host = request(&addr, path, &[]);
        assert!([400, 421].contains(&no_host.0), "{path} without a Host header: {no_host:?}");
        let two = request(&addr, path, &[&with_port("localhost"), &with_port("evil.example")]);
        assert!([400, 421].contains(&two.0), "{path} with two Host headers: {two:?}");
        for name in ["localhost", "127.0.0.1", "[::1]", "10.1.2.3", "AGENT.internal", "m1.fleet.example"] {
            let status = request(&addr, path, &[&with_port(name)]).0;
            assert!(status == 200 || (path == "/readyz" && status == 503), "{path} for {name}: {status}");
        }
        let bare = request(&addr, path, &["host: localhost"]).0;
        assert!(bare == 200 || bare == 503, "{path} without a port: {bare}");
    }
    // A load balancer may check the health under any name: the answer says nothing.
    assert_eq!(request(&addr, "/healthz", &[&with_port("evil.example")]).0, 200);
}

#[test]
fn who_has_the_token_may_use_any_name() {
    let world = World::new();
    let mut agent = world.start().set("STATUS_TOKEN", "a-token").run();
    agent.wait_for("channel_joined");
    let addr = agent.status_addr();
    let right = request(&addr, "/status", &["host: any.example", "authorization: Bearer a-token"]);
    assert_eq!(right.0, 200, "{}", right.1);
    assert_eq!(request(&addr, "/status", &["host: any.example", "authorization: Bearer other"]).0, 421);
}

#[test]
fn health_tells_whether_an_agent_works() {
    let world = World::new();
    let mut agent = world.agent();
    let addr = agent.status_addr();
    let output = health(&addr);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    let port = addr.rsplit_once(':').unwrap().1;
    // The address that the agent listens on by default is none to connect to.
    for any in ["[::]", "0.0.0.0"] {
        assert_eq!(health(&format!("{any}:{port}")).status.code(), Some(0), "{any}");
    }
    agent.stop();
    let started = Instant::now();
    let output = health(&addr);
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&addr), "{said}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn health_gives_up_on_a_silent_server() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = health(&silent.local_addr().unwrap().to_string());
    assert_eq!(output.status.code(), Some(69));
    eventually("another server than the agent is not healthy", || {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = other.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
        });
        let code = health(&addr).status.code();
        let _ = answering.join();
        code == Some(69)
    });
}
