//! A proxy with short limits, a dev server made of raw bytes, and a client made of raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use preview_proxy::{Limits, Proxy, Reason, Settings, Stage, Upstream, View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Far beyond what anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What the tests' limits are.
pub const SHORT: Duration = Duration::from_millis(300);

pub struct Rig {
    pub proxy: Proxy,
    pub view: watch::Sender<View>,
}

/// What the agent shows before there is a dev server.
pub fn installing() -> View {
    View {
        phase: "installing",
        stage: Stage::Installing,
        reasons: Vec::new(),
        detail: None,
        progress: None,
        upstream: None,
    }
}

pub fn failed() -> View {
    let reasons = vec![Reason { code: "config_error".to_owned(), advice: "fix the project's configuration" }];
    View {
        phase: "serving",
        stage: Stage::Failed,
        reasons,
        detail: Some("vite.config.js:3".to_owned()),
        ..installing()
    }
}

pub fn serving(address: SocketAddr) -> View {
    let upstream = Some(Upstream { address, tls: None });
    View { phase: "serving", stage: Stage::StartingServer, upstream, ..installing() }
}

pub fn short() -> Settings {
    let limits = Limits {
        server: listener::Limits { head_time: SHORT, stall_time: SHORT, ..Limits::default().server },
        page_wait: SHORT,
        request_wait: SHORT * 2,
        answer_time: SHORT * 3,
        ..Limits::default()
    };
    Settings { limits, ..Settings::open() }
}

impl Rig {
    pub fn new(settings: Settings, view: View) -> Rig {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let (view, receiver) = watch::channel(view);
        let lines = Arc::new(|count| (0..count).map(|number| format!("line {number}")).collect());
        Rig { proxy: preview_proxy::start(listener, settings, receiver, lines).expect("a proxy"), view }
    }

    /// In front of a dev server.
    pub fn before(address: SocketAddr) -> Rig {
        Rig::new(short(), serving(address))
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.expect("a connection")
    }

    /// Sends bytes and reads until the proxy closes.
    pub async fn send(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        // A refused head may be answered before it is sent as a whole.
        let _ = stream.write_all(bytes.as_bytes()).await;
        rest(&mut stream).await
    }

    /// A request without a body on a connection of its own.
    pub async fn get(&self, target: &str, fields: &str) -> String {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n")).await
    }

    pub async fn page(&self) -> String {
        self.get("/", "Accept: text/html\r\n").await
    }
}

/// All that comes until the other side closes.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
        }
    };
    timeout(PATIENCE, read).await.expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The next `count` bytes.
pub async fn exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("in time").expect("that many");
    bytes
}

/// One head, up to its empty line.
pub async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(PATIENCE, read).await.expect("a head in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A dev server that gives each connection to `answer`; the heads that it read come out of the receiver.
pub async fn dev_server<F>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (heads, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&mut stream).await;
            let _ = heads.send(head);
            tokio::spawn(answer(stream));
        }
    });
    (address, received)
}

/// A dev server that sends these bytes and closes.
pub async fn answering(bytes: impl Into<String>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let bytes = Arc::new(bytes.into());
    dev_server(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    })
    .await
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
