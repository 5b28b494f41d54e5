use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Client, Response, StatusCode, Upgraded};
use secrecy::SecretString;
use sync_core::SocketEvent;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

use super::{MAX_MESSAGE, MAX_REFUSAL};
use crate::sync::net::{NetError, describe};
use crate::sync::scrub::scrub;

/// Bytes read at a time.
const READ_BUFFER: usize = 32 << 10;

/// An upgrade that is about to be asked for. By the HTTP client, and not the websocket library, which loses the body
/// of a refusal unless it comes in one packet with the head.
pub(super) struct Upgrade {
    pub client: Result<Client, NetError>,
    pub url: Url,
    /// Must not come back in an error.
    pub secrets: Vec<SecretString>,
}

impl Upgrade {
    /// Asks, and waits for the answer.
    pub(super) async fn open(self) -> Result<WebSocketStream<Upgraded>, SocketEvent> {
        let client = self.client.map_err(|error| SocketEvent::Failed(error.to_string()))?;
        let key = generate_key();
        let request = client
            .get(self.url)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            return Err(SocketEvent::Refused { status, body: scrub(&body(response).await, &self.secrets) });
        }
        check(&response, &key)?;
        let stream = response.upgrade().await.map_err(failed)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
    }
}

fn failed(error: reqwest::Error) -> SocketEvent {
    SocketEvent::Failed(describe(error))
}

/// RFC 6455, section 4.1: a server that is none must not be taken for one.
fn check(response: &Response, key: &str) -> Result<(), SocketEvent> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wrong = |what: &str| Err(SocketEvent::Failed(format!("not a websocket: the {what} header is wrong")));
    if !header(UPGRADE).eq_ignore_ascii_case("websocket") {
        return wrong("Upgrade");
    }
    if !header(CONNECTION).split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade")) {
        return wrong("Connection");
    }
    if header(SEC_WEBSOCKET_ACCEPT) != derive_accept_key(key.as_bytes()) {
        return wrong("Sec-WebSocket-Accept");
    }
    Ok(())
}

/// What came of the body before its bound or a broken connection.
async fn body(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL - body.len())]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}
