//! A server that answers as a test says, and a hydration into a directory of its own.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use preview_agent::sync::snapshot::{self, Extracted, Limits, Progress, SnapshotError, SnapshotSource};
use zip_stream::{SnapshotFile, SnapshotInfo, write_snapshot};

pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";
/// In every URL of a test, and never in an error.
pub const SECRET: &str = "s3cret-signature";

/// What is done with one connection.
pub enum Answer {
    /// These bytes, then the connection is closed.
    Send(Vec<u8>),
    /// These bytes, then silence.
    Stall(Vec<u8>),
}

pub struct Server {
    pub url: String,
    /// The heads of all requests.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is given the request's number, from 0, and its head.
    pub fn start(mut answer: impl FnMut(usize, &str) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/sign/snapshot.zip?token={SECRET}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = head(&mut stream);
                let number = seen.lock().unwrap().len();
                seen.lock().unwrap().push(head.clone());
                match answer(number, &head) {
                    // The client may have had enough; what it makes of the answer is the test's matter.
                    Answer::Send(bytes) => drop(stream.write_all(&bytes)),
                    Answer::Stall(bytes) => {
                        let _ = stream.write_all(&bytes);
                        held.push(stream);
                    }
                }
            }
        });
        Server { url, requests }
    }

    pub fn source(&self) -> SnapshotSource {
        SnapshotSource::Url(self.url.clone().into())
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

/// A whole answer.
pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}").into_bytes();
    if !headers.contains("content-length") {
        answer.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    answer
}

pub fn ok(body: &[u8]) -> Answer {
    Answer::Send(response("200 OK", "", body))
}

/// The first byte that a request asks for.
pub fn range_start(head: &str) -> Option<usize> {
    let line = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    line.strip_suffix('-').unwrap().parse().ok()
}

/// `body` from `start` on, as a part; cut after `keep` bytes.
pub fn part(body: &[u8], start: usize, keep: usize, headers: &str) -> Vec<u8> {
    let (last, length) = (body.len() - 1, body.len());
    let headers =
        format!("content-range: bytes {start}-{last}/{length}\r\ncontent-length: {}\r\n{headers}", length - start);
    response("206 Partial Content", &headers, &body[start..start.saturating_add(keep).min(length)])
}

/// The whole of `body`, cut after `keep` bytes.
pub fn cut(body: &[u8], keep: usize, headers: &str) -> Vec<u8> {
    let headers = format!("content-length: {}\r\n{headers}", body.len());
    response("200 OK", &headers, &body[..keep.min(body.len())])
}

pub type Files = Vec<(String, Vec<u8>)>;

/// Text, binary, nested, empty, and large enough for several reads.
pub fn files() -> Files {
    let mut random = 1u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    };
    let file = |path: &str, bytes: Vec<u8>| (path.to_owned(), bytes);
    vec![
        file("package.json", b"{}".to_vec()),
        file("src/App.tsx", b"export default () => <p>hello</p>\n".repeat(200)),
        file("src/deep/er/x.css", Vec::new()),
        file("public/font.woff2", (0..400_000).map(|_| noise()).collect()),
        file(".env", b"A=1\n".to_vec()),
    ]
}

pub fn snapshot_of(files: &Files, project_id: &str) -> Vec<u8> {
    let mut zip = Vec::new();
    let info = SnapshotInfo { project_id, revision: 41, created_at: None };
    let files = files.iter().map(|(path, bytes)| SnapshotFile { path, bytes, version: 3 });
    write_snapshot(&mut zip, info, files, sync_core::rules::snapshot_rank).unwrap();
    zip
}

/// A zip of an ordinary tool: no manifest.
pub fn plain_zip(files: &Files) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (path, bytes) in files {
        zip.start_file(path.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Short patience, so that a test need not have much.
pub fn limits() -> Limits {
    Limits {
        stall: Duration::from_millis(500),
        backoff: Duration::from_millis(5),
        longest_backoff: Duration::from_millis(50),
        deadline: Duration::from_secs(60),
        attempts: 4,
        ..Limits::default()
    }
}

pub fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

pub struct Done {
    pub result: Result<Extracted, SnapshotError>,
    pub stage: tempfile::TempDir,
    pub progress: Vec<Progress>,
}

pub fn hydrate(source: &SnapshotSource) -> Done {
    hydrate_within(source, limits())
}

pub fn hydrate_within(source: &SnapshotSource, limits: Limits) -> Done {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("stage")).unwrap();
    let stage = Dir::open_ambient_dir(temp.path().join("stage"), ambient_authority()).unwrap();
    let progress = Arc::new(Mutex::new(Vec::new()));
    let told = progress.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(snapshot::hydrate(source, PROJECT, &client(), stage, &limits, move |progress| {
        told.lock().unwrap().push(progress);
    }));
    if let Err(error) = &result {
        let all = format!("{error:?} {}", sync_core::error_chain(error));
        assert!(!all.contains(SECRET), "the URL's secret stands in {all}");
    }
    // Nothing lies beside the stage, whatever the archive asked for.
    let beside: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["stage"]);
    let progress = progress.lock().unwrap().clone();
    Done { result, stage: temp, progress }
}

impl Done {
    #[track_caller]
    pub fn extracted(&self) -> &Extracted {
        self.result.as_ref().unwrap_or_else(|error| panic!("{}", sync_core::error_chain(error)))
    }

    #[track_caller]
    pub fn error(&self) -> &SnapshotError {
        self.result.as_ref().expect_err("an error")
    }

    pub fn on_disk(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.stage.path().join("stage"), "", &mut found);
        found
    }

    /// What lies in the stage, and what was reported, are `files`.
    #[track_caller]
    pub fn assert_holds(&self, files: &Files) {
        let extracted = self.extracted();
        assert!(self.on_disk() == files.iter().cloned().collect::<BTreeMap<_, _>>(), "other files lie on the disk");
        let reported: BTreeMap<_, _> = extracted.files.iter().map(|file| (file.path.to_string(), file)).collect();
        assert_eq!(reported.len(), files.len());
        for (path, bytes) in files {
            let file = reported[path];
            assert_eq!((file.hash, file.size), (sync_core::ContentHash::of(bytes), bytes.len() as u64), "{path}");
        }
    }
}

fn collect(dir: &Path, above: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
