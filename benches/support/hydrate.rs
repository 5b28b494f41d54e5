//! 2,000 files, 50 MB, deflated, from a local HTTP server into an empty directory.

use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::agent::Agent;
use super::{median, node_client, row};

const FILES: usize = 2_000;
const BYTES: usize = 50_000_000;
const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

pub fn compare(rounds: usize) {
    let archive = Arc::new(archive());
    println!("\nhydration: {FILES} files, {BYTES} bytes, {} compressed; medians of {rounds} rounds", archive.len());
    let url = serve(archive);
    let (mut agent, mut node, mut bsdtar) = (Vec::new(), Vec::new(), Vec::new());
    // Removed at the end: a big removal makes the disk slow for the next run.
    let temp = super::scratch();
    for round in 0..=rounds {
        let dir = |name: &str| {
            let dir = temp.path().join(format!("{name}-{round}"));
            std::fs::create_dir(&dir).expect("a directory");
            dir
        };
        let measured = (by_agent(&url, &dir("agent")), by_node(&url, &dir("node")), by_bsdtar(&url, &dir("bsdtar")));
        // The first round warms the page cache up.
        if round > 0 {
            agent.push(measured.0);
            node.push(measured.1);
            bsdtar.push(measured.2);
        }
    }
    let seconds = |runs: &[(f64, f64)]| median(&runs.iter().map(|run| run.0 * 1000.0).collect::<Vec<_>>());
    let memory = |runs: &[(f64, f64)]| median(&runs.iter().map(|run| run.1).collect::<Vec<_>>());
    let ours = seconds(&agent);
    println!("{:<28} {:>12} {:>12}", "", "time", "peak");
    println!("{:<28} {ours:>9.0} ms {:>8.1} MiB    1.00 x", "preview-agent", memory(&agent));
    println!(
        "{:<28} {:>9.0} ms {:>8.1} MiB  {:>6.2} x",
        "node, axios, JSZip",
        seconds(&node),
        memory(&node),
        seconds(&node) / ours
    );
    row("curl | bsdtar", &[seconds(&bsdtar)], "ms", seconds(&bsdtar) / ours);
}

fn by_agent(url: &str, dir: &Path) -> (f64, f64) {
    let env =
        [("PROJECT_ID", PROJECT.to_owned()), ("SESSION_ID", "bench".to_owned()), ("SNAPSHOT_URL", url.to_owned())];
    let started = Instant::now();
    let mut agent = Agent::start(dir, &env);
    agent.wait_for("hydrate_done");
    let took = started.elapsed().as_secs_f64();
    let peak = agent.peak_mib();
    agent.stop();
    assert_eq!(count(&dir.join("project")), FILES, "files by preview-agent");
    (took, peak)
}

fn by_node(url: &str, dir: &Path) -> (f64, f64) {
    let started = Instant::now();
    let output =
        Command::new("node").arg(node_client().join("hydrate.mjs")).args([url]).arg(dir).output().expect("node");
    let took = started.elapsed().as_secs_f64();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(count(dir), FILES, "files by node");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (took, said["max_rss_kib"].as_f64().expect("a number") / 1024.0)
}

fn by_bsdtar(url: &str, dir: &Path) -> (f64, f64) {
    let started = Instant::now();
    let mut curl = Command::new("curl").args(["-sSf", url]).stdout(Stdio::piped()).spawn().expect("curl");
    let archive = curl.stdout.take().expect("a pipe");
    let status = Command::new("bsdtar").args(["-xf", "-", "-C"]).arg(dir).stdin(archive).status().expect("bsdtar");
    let took = started.elapsed().as_secs_f64();
    assert!(status.success() && curl.wait().expect("curl ends").success());
    assert_eq!(count(dir), FILES, "files by bsdtar");
    (took, 0.0)
}

fn count(dir: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        files += if entry.file_type().expect("a type").is_dir() { count(&entry.path()) } else { 1 };
    }
    files
}

/// Text that looks like code: words from a small vocabulary in an order of chance, which deflates to about a third.
fn archive() -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "const ",
        "value",
        " = ",
        "props.",
        "return ",
        "(",
        ")",
        "{\n  ",
        "}\n",
        "import ",
        "from ",
        "\"./part\"",
        ";\n",
        "useState",
        "<div className=",
        "export default ",
    ];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for file in 0..FILES {
        zip.start_file(format!("src/part{}/file{file}.tsx", file % 40), options).expect("an entry");
        let mut text = String::with_capacity(BYTES / FILES + 16);
        while text.len() < BYTES / FILES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(WORDS[(random >> 60) as usize]);
            if random >> 32 & 7 == 0 {
                text.push_str(&format!("{:x}", random >> 40));
            }
        }
        text.truncate(BYTES / FILES);
        zip.write_all(text.as_bytes()).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

fn serve(archive: Arc<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/snapshot.zip", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let archive = archive.clone();
            std::thread::spawn(move || answer(stream, &archive));
        }
    });
    url
}

fn answer(mut stream: TcpStream, archive: &[u8]) {
    let mut request = [0; 4096];
    // The request's content does not matter, and a client that went away needs no answer.
    let _ = stream.read(&mut request);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", archive.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(archive));
}
