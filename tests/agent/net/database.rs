use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Response;
use preview_agent::sync::database::{Database, MAX_ANSWER};
use preview_agent::sync::net::Net;
use preview_agent::sync::token::{Token, TokenCell};
use preview_agent::sync::workspace::Workspace;
use serde_json::{Value, json};
use sync_core::{Answer, ContentHash, Read, ReadError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";
pub const ANON: &str = "anon-k3y";
pub const SECRET: &str = "t0ken-secret";

/// The older envelope, around a token that is easy to find.
pub fn token(secret: &str) -> Token {
    use base64::Engine as _;
    let json = json!({"token": secret, "scope": format!("project:{PROJECT}"), "iat": 0, "exp": 3600});
    let text = base64::engine::general_purpose::STANDARD.encode(json.to_string());
    Token::parse(&text, PROJECT).unwrap()
}

/// What a request was: method and target, headers that matter, body.
pub type Seen = Arc<Mutex<Vec<(String, String, String, Value)>>>;

/// A server that answers each request in one way, and what it was asked.
pub async fn serve<F>(answer: F) -> (String, Seen)
where
    F: Fn() -> Response<Body> + Clone + Send + Sync + 'static,
{
    let seen = Seen::default();
    let noted = seen.clone();
    let handler = move |request: Request| {
        let (noted, answer) = (noted.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            noted.lock().unwrap().push((
                format!("{} {}", head.method, head.uri),
                header("apikey").unwrap_or_default(),
                header("authorization").unwrap_or_default(),
                serde_json::from_slice(&body).unwrap_or(Value::Null),
            ));
            answer()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (url, seen)
}

struct Fixture {
    dir: tempfile::TempDir,
    database: Database,
}

impl Fixture {
    fn new(url: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&dir.path().join("project"), &dir.path().join("state"), "p", None).unwrap();
        let database = Database::new(
            Net::new(None).unwrap().api_client().unwrap(),
            url.parse().unwrap(),
            ANON.into(),
            TokenCell::new(token(SECRET)),
            PROJECT.into(),
            workspace.stage(),
        );
        Fixture { dir, database }
    }

    async fn read(&self, read: Read) -> Result<Answer, ReadError> {
        let answer = tokio::time::timeout(Duration::from_secs(60), self.database.read(read)).await.unwrap();
        let told = format!("{answer:?} {:?}", self.database);
        assert!(!told.contains(ANON) && !told.contains(SECRET), "a secret in {told}");
        answer
    }

    /// Bytes of the staged files that are there.
    fn staged(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().join("state/stage")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                } else {
                    found.push(std::fs::read(entry).unwrap());
                }
            }
        }
        found
    }
}

fn json_answer(status: u16, body: Value) -> impl Fn() -> Response<Body> + Clone + Send + Sync + 'static {
    move || Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
}

fn bytes(bytes: &'static [u8]) -> impl Fn() -> Response<Body> + Clone + Send + Sync + 'static {
    move || Response::new(Body::from(bytes))
}

#[tokio::test]
async fn calls_each_function_with_its_own_arguments() {
    let (url, seen) = serve(json_answer(200, json!({"head_revision": 3}))).await;
    let fixture = Fixture::new(&url);
    for read in [
        Read::Changes { since: 7, max_rows: 50, with_content: false },
        Read::Head,
        Read::File { path: "a b/ü&\"c\".ts".into(), version: 4 },
        Read::CurrentFiles { after: String::new() },
        Read::CurrentFiles { after: "src/a&b=c,\"d\" +%.ts".into() },
        Read::CurrentFile { path: "x.y,(z)".into() },
    ] {
        let answer = fixture.read(read).await.unwrap();
        assert_eq!(answer, Answer::Json(Bytes::from_static(br#"{"head_revision":3}"#)));
    }
    let rpc = "POST /base/rest/v1/rpc";
    let listing = "select=file_path%2Cfile_type%2Ccontent_hash%2Cversion%2Cupdated_at&order=file_path&limit=1000";
    let single = "select=file_path%2Cfile_type%2Ccontent%2Ccontent_hash%2Cversion%2Cupdated_at";
    let seen = seen.lock().unwrap();
    let expected = [
        (
            format!("{rpc}/list_project_changes"),
            json!({"project_uuid": PROJECT, "since_revision": 7, "max_rows": 50, "with_content": false}),
        ),
        (format!("{rpc}/project_head"), json!({"project_uuid": PROJECT})),
        (
            format!("{rpc}/get_project_file"),
            json!({"project_uuid": PROJECT, "p_file_path": "a b/ü&\"c\".ts", "p_version": 4}),
        ),
        (format!("{rpc}/list_current_files?{listing}"), json!({"project_uuid": PROJECT})),
        (
            format!("{rpc}/list_current_files?{listing}&file_path=gt.src%2Fa%26b%3Dc%2C%22d%22+%2B%25.ts"),
            json!({"project_uuid": PROJECT}),
        ),
        (
            format!("{rpc}/list_current_files?{single}&file_path=eq.x.y%2C%28z%29&limit=1"),
            json!({"project_uuid": PROJECT}),
        ),
    ];
    assert_eq!(seen.len(), expected.len());
    for ((target, key, bearer, body), (wanted, arguments)) in seen.iter().zip(&expected) {
        assert_eq!((target, body), (wanted, arguments));
        assert_eq!((key.as_str(), bearer.as_str()), (ANON, &*format!("Bearer {SECRET}")));
    }
}

#[tokio::test]
async fn a_refusal_arrives_as_what_it_is() {
    for (status, body, matches) in [
        (404, json!({"code": "PGRST202"}), (|e| matches!(e, ReadError::NoSuchFunction)) as fn(&ReadError) -> bool),
        (404, json!({"code": "PT404"}), |e| matches!(e, ReadError::Gone)),
        (401, json!({"message": format!("bad {SECRET}")}), |e| matches!(e, ReadError::Unauthorized(_))),
        (403, json!({"code": "42501", "message": format!("key {ANON}")}), |e| matches!(e, ReadError::Forbidden(_))),
        (503, json!({}), |e| matches!(e, ReadError::Unavailable { .. })),
        (
            429,
            json!({"code": "PT429", "details": "{\"retry_after_ms\":70}"}),
            |e| matches!(e, ReadError::Unavailable { retry_after: Some(wait), .. } if wait.as_millis() == 70),
        ),
        (307, json!({}), |e| matches!(e, ReadError::Unusable(_))),
    ] {
        let (url, _) = serve(json_answer(status, body)).await;
        let error = Fixture::new(&url).read(Read::Head).await.unwrap_err();
        assert!(matches(&error), "{status}: {error:?}");
    }
    let nobody = Fixture::new("http://127.0.0.1:9/").read(Read::Head).await.unwrap_err();
    assert!(
        matches!(&nobody, ReadError::Unavailable { error, .. } if error.starts_with("project_head: ")),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn a_huge_answer_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fixture = Fixture::new(&format!("http://{}/", listener.local_addr().unwrap()));
    let announce = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_ANSWER + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let (answer, _stream) = tokio::join!(fixture.read(Read::Head), announce);
    let error = answer.unwrap_err();
    assert!(matches!(&error, ReadError::Unusable(why) if why.contains("more than")), "{error:?}");

    let endless = || {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let stream = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        Response::new(Body::from_stream(stream))
    };
    let (url, _) = serve(endless).await;
    let error = Fixture::new(&url).read(Read::Head).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unusable(why) if why.contains("more than")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_or_stalled_server_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fixture = Fixture::new(&format!("http://{}/", silent.local_addr().unwrap()));
    let error = fixture.database.read(Read::Head).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unavailable { .. }), "{error:?}");

    let stalled = || Response::new(Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>()));
    let (url, _) = serve(stalled).await;
    let fixture = Fixture::new(&url);
    let hash = ContentHash::of(b"x");
    for read in [Read::Head, Read::Asset { hash, size: None }] {
        let error = fixture.database.read(read).await.unwrap_err();
        assert!(matches!(&error, ReadError::Unavailable { .. }), "{error:?}");
    }
    assert!(fixture.staged().is_empty());
}

#[tokio::test]
async fn an_object_is_staged_once_its_bytes_are_right() {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\x00\xff";
    let (url, seen) = serve(bytes(PNG)).await;
    let fixture = Fixture::new(&url);
    let hash = ContentHash::of(PNG);
    let answer = fixture.read(Read::Asset { hash, size: Some(PNG.len() as u64) }).await.unwrap();
    assert!(matches!(answer, Answer::Staged(_)), "{answer:?}");
    assert_eq!(fixture.staged(), [PNG]);
    let (target, key, bearer, _) = seen.lock().unwrap()[0].clone();
    assert_eq!(target, format!("GET /base/storage/v1/object/authenticated/project-assets/{PROJECT}/{hash}"));
    assert_eq!((key.as_str(), bearer.as_str()), (ANON, &*format!("Bearer {SECRET}")));
}

#[tokio::test]
async fn a_wrong_object_leaves_nothing_in_the_stage() {
    let (url, _) = serve(bytes(b"something else")).await;
    let fixture = Fixture::new(&url);
    let wanted = ContentHash::of(b"this");
    let error = fixture.read(Read::Asset { hash: wanted, size: None }).await.unwrap_err();
    assert_eq!(error, ReadError::WrongHash { got: ContentHash::of(b"something else") });
    let error = fixture.read(Read::Asset { hash: wanted, size: Some(4) }).await.unwrap_err();
    assert!(matches!(error, ReadError::Unusable(_)), "{error:?}");
    let error = fixture.read(Read::Asset { hash: wanted, size: Some(u64::MAX) }).await.unwrap_err();
    assert!(matches!(error, ReadError::Unusable(_)), "{error:?}");
    assert!(fixture.staged().is_empty());
}

#[tokio::test]
async fn storages_400_is_read_by_its_body() {
    for (body, matches) in [
        (
            json!({"statusCode": "404", "error": "not_found", "message": "Object not found"}),
            (|e| matches!(e, ReadError::Gone)) as fn(&ReadError) -> bool,
        ),
        (
            json!({"statusCode": "403", "error": "Unauthorized", "message": "\"exp\" claim timestamp check failed"}),
            |e| matches!(e, ReadError::Unauthorized(_)),
        ),
        (
            json!({"statusCode": "403", "error": "Unauthorized", "message": "new row violates row-level security policy"}),
            |e| matches!(e, ReadError::Forbidden(_)),
        ),
        (json!({"statusCode": "429", "error": "x", "message": "slow down"}), |e| {
            matches!(e, ReadError::Unavailable { .. })
        }),
    ] {
        let (url, _) = serve(json_answer(400, body)).await;
        let fixture = Fixture::new(&url);
        let error = fixture.read(Read::Asset { hash: ContentHash::of(b"x"), size: None }).await.unwrap_err();
        assert!(matches(&error), "{error:?}");
        assert!(fixture.staged().is_empty());
    }
}

#[tokio::test]
async fn a_download_that_breaks_or_is_dropped_leaves_nothing() {
    let broken = || {
        let pieces = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("cut"))];
        Response::new(Body::from_stream(futures_util::stream::iter(pieces)))
    };
    let (url, _) = serve(broken).await;
    let fixture = Fixture::new(&url);
    let read = Read::Asset { hash: ContentHash::of(b"half"), size: None };
    let error = fixture.read(read.clone()).await.unwrap_err();
    assert!(matches!(error, ReadError::Unavailable { .. }), "{error:?}");
    assert!(fixture.staged().is_empty());

    let stalled = || Response::new(Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>()));
    let (url, _) = serve(stalled).await;
    let fixture = Fixture::new(&url);
    let download = fixture.database.read(read);
    tokio::pin!(download);
    while fixture.staged().is_empty() {
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut download).await.is_err());
    }
    download.set(fixture.database.read(Read::Head));
    assert!(fixture.staged().is_empty());
}
