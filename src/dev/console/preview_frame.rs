//! A proxy for the preview in the console's frame: it adds a script to the dev server's pages that tells the console when
//! the page has changed. The console cannot see this itself, because the page has another origin.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::debug;

/// The longest page that gets the script, in bytes. A longer one is passed on unchanged.
const MAX_PAGE: usize = 4 << 20;

/// The preview frame script: posts the time of the first animation frame after a change.
const SCRIPT: &str = "<script>(() => {
  if (parent === window) return
  let asked = false
  const tell = () => { asked = false; parent.postMessage({ painted: Date.now() }, '*') }
  const changed = () => { if (!asked) { asked = true; requestAnimationFrame(() => setTimeout(tell)) } }
  new MutationObserver(changed).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
  addEventListener('load', changed, true)
})()</script>";

/// A running proxy. It ends when it is dropped.
pub struct PreviewFrame {
    port: u16,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Ports {
    own: u16,
    dev_server: u16,
}

impl PreviewFrame {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(dev_server: u16) -> io::Result<PreviewFrame> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let app = Router::new().fallback(forward).with_state(Arc::new(Ports { own, dev_server }));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                debug!(%error, "the proxy for the preview frame ended");
            }
        });
        Ok(PreviewFrame { port: own, server })
    }

    /// The address of the preview in the frame.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }
}

impl Drop for PreviewFrame {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(State(ports): State<Arc<Ports>>, mut request: Request) -> Response {
    // The dev server cannot check this name, since it is replaced here.
    let own = format!("localhost:{}", ports.own);
    if request.headers().get(header::HOST).is_none_or(|host| host != own.as_str()) {
        return (StatusCode::FORBIDDEN, "this Host header is not allowed\n").into_response();
    }
    ports.translate(request.headers_mut());
    match ports.ask(request).await {
        Ok(response) => with_script(response).await,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the dev server does not answer: {error}\n")).into_response(),
    }
}

impl Ports {
    /// Rewrites the headers so that the dev server sees a request to its own address.
    fn translate(&self, headers: &mut HeaderMap) {
        let origins = [self.own, self.dev_server].map(|port| format!("http://localhost:{port}"));
        let value = |text: &str| HeaderValue::from_str(text).expect("a name and a port");
        if headers.get(header::ORIGIN).is_some_and(|origin| origin == origins[0].as_str()) {
            headers.insert(header::ORIGIN, value(&origins[1]));
        }
        headers.insert(header::HOST, value(origins[1].trim_start_matches("http://")));
        // The script can only be added to an uncompressed page.
        headers.remove(header::ACCEPT_ENCODING);
    }

    async fn ask(&self, mut request: Request) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, self.dev_server)).await {
            Ok(stream) => stream,
            // Some dev servers listen there alone.
            Err(_) => TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, self.dev_server)).await?,
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "a connection to the dev server ended");
            }
        });
        let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let mut response = sender.send_request(request).await?;
        if let (Some(browser), StatusCode::SWITCHING_PROTOCOLS) = (upgrade, response.status()) {
            let dev_server = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let joined = async {
                    let (browser, dev_server) = (browser.await?, dev_server.await?);
                    let (mut browser, mut dev_server) = (TokioIo::new(browser), TokioIo::new(dev_server));
                    copy_bidirectional(&mut browser, &mut dev_server).await?;
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
                };
                if let Err(error) = joined.await {
                    debug!(%error, "a websocket to the dev server ended");
                }
            });
        }
        Ok(response.map(Body::new))
    }
}

async fn with_script(response: Response) -> Response {
    if !is_short_page(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_PAGE).await else {
        return (StatusCode::BAD_GATEWAY, "the dev server's page broke off or is too long\n").into_response();
    };
    // The length has changed, and the entity tag no longer fits.
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::ETAG] {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::from([&bytes, SCRIPT.as_bytes()].concat()))
}

fn is_short_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let html = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    html && length.is_none_or(|length| length <= MAX_PAGE) && text(header::CONTENT_ENCODING).is_none()
}
