//! Requests to the dev server, as a browser would make them, and not through the preview proxy.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Upgraded};
use supervisor::dev_server::{Scheme, Upstream, tls};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

/// The longest time for one answer. Some frameworks compile a whole application first.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The longest time for the answer to the upgrade.
const UPGRADE_TIME: Duration = Duration::from_secs(10);
/// The most that is read of an answer, in bytes. A module beyond it is checked, and what it loads is not followed.
const MAX_BODY: usize = 4 << 20;
/// The largest message of the HMR channel, in bytes: an error has the module's code.
const MAX_MESSAGE: usize = 16 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskFor {
    /// A page.
    Document,
    /// A module, as a script imports it.
    Module,
}

/// An answer of the dev server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Lower case, without parameters.
    pub(super) content_type: String,
    pub(super) body: String,
}

/// A dev server at its own address. Clones share connections.
#[derive(Debug, Clone)]
pub(super) struct DevServerClient {
    client: Client,
    upgrades: Client,
    origin: String,
    headers: HeaderMap,
}

impl DevServerClient {
    pub(super) fn new(upstream: Upstream) -> Result<DevServerClient, reqwest::Error> {
        let scheme = match upstream.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let port = upstream.address.port();
        let builder = || {
            let tls = rustls::ClientConfig::clone(&tls::client_config());
            let builder = Client::builder().tls_backend_preconfigured(tls).no_proxy().http1_only().referer(false);
            builder.redirect(Policy::custom(move |attempt| follow(attempt, port))).connect_timeout(ANSWER_TIME)
        };
        let mut headers = HeaderMap::new();
        if let Ok(host) = HeaderValue::from_str(&format!("localhost:{port}")) {
            headers.insert(HOST, host);
        }
        Ok(DevServerClient {
            client: builder().timeout(ANSWER_TIME).build()?,
            upgrades: builder().pool_max_idle_per_host(0).build()?,
            origin: format!("{scheme}://{}", upstream.address),
            headers,
        })
    }

    /// The same server on another port: some frameworks have a port for HMR alone.
    fn websocket_url(&self, port: Option<u16>, path: &str) -> Option<Url> {
        let mut url = Url::parse(&format!("{}{path}", self.origin)).ok()?;
        if let Some(port) = port {
            url.set_port(Some(port)).ok()?;
        }
        Some(url)
    }

    /// One GET.
    pub(super) async fn get(&self, address: &str, what: AskFor) -> Result<Answer, String> {
        let (accept, destination) = match what {
            AskFor::Document => ("text/html,application/xhtml+xml,*/*;q=0.8", "document"),
            AskFor::Module => ("*/*", "script"),
        };
        let request = self.client.get(format!("{}{address}", self.origin)).headers(self.headers.clone());
        let request = request.header(ACCEPT, accept).header("sec-fetch-dest", destination);
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        let content_type = content_type.trim().to_ascii_lowercase();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                body.truncate(MAX_BODY);
                break;
            }
        }
        Ok(Answer { status, content_type, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The HMR channel of Vite. `path` has the token.
    pub(super) async fn open_hot_channel(
        &self,
        port: Option<u16>,
        path: &str,
    ) -> Result<WebSocketStream<Upgraded>, String> {
        let url = self.websocket_url(port, path).ok_or("not an address")?;
        let request = self.upgrades.get(url).headers(self.headers.clone());
        let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", generate_key());
        let request = request.header(SEC_WEBSOCKET_PROTOCOL, "vite-hmr");
        // A limit of the request would end the channel as well.
        let response = timeout(UPGRADE_TIME, request.send()).await.map_err(|late| late.to_string())?;
        let response = response.map_err(describe)?;
        let upgraded = response.upgrade().await.map_err(describe)?;
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }
}

/// A redirect of the dev server to itself; another server is none of the preview's.
fn follow(attempt: Attempt, port: u16) -> reqwest::redirect::Action {
    let url = attempt.url();
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_same = is_local && url.port_or_known_default() == Some(port);
    if is_same && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
}

fn describe(error: reqwest::Error) -> String {
    sync_core::error_chain(&error.without_url())
}
