use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::edge::world::PATIENCE;

/// What does not come within this counts as not coming.
pub const QUIET: Duration = Duration::from_millis(300);

/// A plain client of Realtime, protocol 1.0.0.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub async fn open(url: &str, anon_key: &str) -> Socket {
        let address = url.trim_start_matches("http://");
        let request = format!("ws://{address}/realtime/v1/websocket?apikey={anon_key}&vsn=1.0.0");
        let stream = TcpStream::connect(address).await.expect("the backend listens");
        let opening = tokio_tungstenite::client_async(request.into_client_request().expect("a URL"), stream);
        Socket(tokio::time::timeout(PATIENCE, opening).await.expect("in time").expect("the websocket opens").0)
    }

    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("the frame is sent");
    }

    pub async fn next(&mut self) -> Value {
        self.within(PATIENCE).await.expect("a frame in time")
    }

    /// Nothing where none comes.
    pub async fn within(&mut self, patience: Duration) -> Option<Value> {
        let frame = tokio::time::timeout(patience, self.0.next()).await.ok()?;
        match frame.expect("the socket is open").expect("the frame is whole") {
            Message::Text(text) => Some(serde_json::from_str(&text).expect("a frame is JSON")),
            other => panic!("no text frame: {other:?}"),
        }
    }

    /// Joins `topic`, named without `realtime:`; what the server replies.
    pub async fn join(&mut self, topic: &str, token: Option<&str>, config: Value) -> Value {
        let topic = format!("realtime:{topic}");
        let mut payload = json!({ "config": config });
        if let Some(token) = token {
            payload["access_token"] = json!(token);
        }
        self.send(json!({"topic": topic, "event": "phx_join", "payload": payload, "ref": "1", "join_ref": "1"})).await;
        loop {
            let frame = self.next().await;
            if frame["event"] == "phx_reply" && frame["ref"] == "1" {
                return frame["payload"].clone();
            }
        }
    }

    pub async fn broadcast(&mut self, topic: &str, event: &str) {
        let payload = json!({"type": "broadcast", "event": event, "payload": {}});
        let frame = json!({"topic": format!("realtime:{topic}"), "event": "broadcast", "payload": payload, "ref": "2",
            "join_ref": "1"});
        self.send(frame).await;
    }
}
