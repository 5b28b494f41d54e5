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
use crate::sync::http;
use crate::sync::net::{NetError, describe};
use crate::sync::scrub::scrub;

/// Bytes read at once.
const READ_BUFFER: usize = 32 << 10;

/// An upgrade to be requested. The HTTP client requests it, and not the websocket library, which loses the body of a
/// refusal unless it is in the same packet as the head.
pub(super) struct Upgrade {
    pub client: Result<Client, NetError>,
    pub url: Url,
    /// Removed from every error.
    pub secrets: Vec<SecretString>,
}

impl Upgrade {
    /// Requests the upgrade and waits for the answer.
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
            let retry_after = http::retry_after(response.headers());
            let body = http::read_beginning(response, MAX_REFUSAL).await;
            let body = scrub(&String::from_utf8_lossy(&body), &self.secrets);
            return Err(SocketEvent::Refused { status, body, retry_after });
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

/// Checks the headers of the answer (RFC 6455, section 4.1).
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
