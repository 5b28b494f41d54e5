//! A plain websocket and a plain HTTP client for the tests.
#![allow(dead_code, missing_docs)]

pub mod postgres;

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use local_backend::{Backend, BackendOptions};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};

pub const PROJECT: &str = "11111111-1111-4111-8111-111111111111";
pub const OTHER: &str = "22222222-2222-4222-8222-222222222222";
pub const TOPIC: &str = "realtime:project:11111111-1111-4111-8111-111111111111";
/// Longer than anything should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// What does not come within this counts as not coming.
pub const QUIET: Duration = Duration::from_millis(300);

/// Fast refusals, and the project of the recordings.
pub fn options() -> BackendOptions {
    BackendOptions {
        project_id: PROJECT.into(),
        refusal_delay: Duration::from_millis(20),
        join_refusal_delay: Duration::from_millis(50),
        postgres_changes_delay: Duration::from_millis(50),
        ..BackendOptions::default()
    }
}

pub async fn backend() -> Backend {
    Backend::start(options()).await.expect("the backend starts")
}

pub struct Client(pub WebSocketStream<TcpStream>);

impl Client {
    pub async fn connect(backend: &Backend, query: &str) -> Client {
        Client::try_connect(backend, query).await.expect("the websocket opens")
    }

    pub async fn v1(backend: &Backend) -> Client {
        Client::connect(backend, &format!("apikey={}&vsn=1.0.0", backend.agent_settings().anon_key)).await
    }

    pub async fn v2(backend: &Backend) -> Client {
        Client::connect(backend, &format!("apikey={}&vsn=2.0.0", backend.agent_settings().anon_key)).await
    }

    pub async fn try_connect(backend: &Backend, query: &str) -> Result<Client, Error> {
        Client::open(backend, query, Vec::new()).await
    }

    /// With headers of one's own.
    pub async fn open(backend: &Backend, query: &str, headers: Vec<(String, HeaderValue)>) -> Result<Client, Error> {
        let address = backend.url().replace("http://", "");
        let stream = TcpStream::connect(&address).await.expect("the backend listens");
        let mut request = format!("ws://{address}/realtime/v1/websocket?{query}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::try_from(name).expect("a header's name"), value);
        }
        let opening = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = tokio::time::timeout(PATIENCE, opening).await.expect("an answer to the upgrade")?;
        Ok(Client(socket))
    }

    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("the frame is sent");
    }

    /// The next text frame.
    pub async fn next(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("a frame is JSON"),
            other => panic!("no text frame: {other:?}"),
        }
    }

    pub async fn next_message(&mut self) -> Message {
        self.message_within(PATIENCE).await.expect("a frame in time")
    }

    /// Nothing where none comes.
    pub async fn message_within(&mut self, patience: Duration) -> Option<Message> {
        let next = tokio::time::timeout(patience, self.0.next()).await.ok()?;
        Some(next.expect("the socket is open").expect("the frame is whole"))
    }

    /// Nothing arrives.
    pub async fn quiet(&mut self) {
        if let Ok(frame) = tokio::time::timeout(QUIET, self.0.next()).await {
            panic!("unexpected: {frame:?}");
        }
    }

    /// The code of the close frame; 1006 where there is none.
    pub async fn closed(&mut self) -> u16 {
        let end = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(Message::Close(None))) => return 1005,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return 1006,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("the socket is closed in time")
    }

    /// Joins in protocol 1.0.0 and takes the reply.
    pub async fn join(&mut self, topic: &str, token: &str) {
        self.send(join(topic, "1", token, true)).await;
        let reply = self.next().await;
        assert_eq!(reply["payload"]["status"], "ok", "{reply}");
    }

    /// Joins in protocol 2.0.0 and takes the reply.
    pub async fn join_v2(&mut self, topic: &str, token: &str) {
        let frame = join(topic, "1", token, true);
        self.send(json!(["1", "1", topic, "phx_join", frame["payload"]])).await;
        let reply = self.next().await;
        assert_eq!(reply[4]["status"], "ok", "{reply}");
    }
}

pub fn join(topic: &str, reference: &str, token: &str, private: bool) -> Value {
    let config = json!({
        "broadcast": {"ack": false, "self": false}, "presence": {"key": "", "enabled": false},
        "postgres_changes": [], "private": private,
    });
    let payload = json!({"config": config, "access_token": token});
    json!({"topic": topic, "event": "phx_join", "payload": payload, "ref": reference, "join_ref": reference})
}

/// Calls a function of the database; status and body.
pub async fn rpc(backend: &Backend, token: &str, function: &str, arguments: Value) -> (u16, Value) {
    let url = format!("{}/rest/v1/rpc/{function}", backend.url());
    let request = http().post(url).header("apikey", backend.agent_settings().anon_key);
    let response = request.bearer_auth(token).json(&arguments).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("the body is JSON"))
}

/// A client for plain HTTP. Built together with the agent, reqwest has TLS in it and insists on a provider all the same.
pub fn http() -> reqwest::Client {
    // An error says that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
