//! The console's window on the preview: the dev server's pages, with a script more that tells the console when what is
//! shown has changed. Nothing else could: a page of another origin does not let itself be looked at.

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

/// A longer page is passed on as it is.
const MAX_PAGE: usize = 4 << 20;

/// Waits for the frame after a change, and says when that was.
const SCRIPT: &str = "<script>(() => {
  if (parent === window) return
  let asked = false
  const tell = () => { asked = false; parent.postMessage({ painted: Date.now() }, '*') }
  const changed = () => { if (!asked) { asked = true; requestAnimationFrame(() => setTimeout(tell)) } }
  new MutationObserver(changed).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
  addEventListener('load', changed, true)
})()</script>";

/// A running window. It ends when it is dropped.
pub struct Window {
    port: u16,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Ports {
    own: u16,
    dev_server: u16,
}

impl Window {
    /// Opens it on a free port of the loopback.
    pub async fn open(dev_server: u16) -> io::Result<Window> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let app = Router::new().fallback(forward).with_state(Arc::new(Ports { own, dev_server }));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                debug!(%error, "the window on the preview ended");
            }
        });
        Ok(Window { port: own, server })
    }

    /// Where its pages are.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(State(ports): State<Arc<Ports>>, mut request: Request) -> Response {
    // The dev server would check this name itself, were it not replaced here.
    let own = format!("localhost:{}", ports.own);
    if request.headers().get(header::HOST).is_none_or(|host| host != own.as_str()) {
        return (StatusCode::FORBIDDEN, "not known under this name\n").into_response();
    }
    ports.translate(request.headers_mut());
    match ports.ask(request).await {
        Ok(response) => with_script(response).await,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the dev server does not answer: {error}\n")).into_response(),
    }
}

impl Ports {
    /// The dev server is to take the request for one to itself.
    fn translate(&self, headers: &mut HeaderMap) {
        let origins = [self.own, self.dev_server].map(|port| format!("http://localhost:{port}"));
        let value = |text: &str| HeaderValue::from_str(text).expect("a name and a port");
        if headers.get(header::ORIGIN).is_some_and(|origin| origin == origins[0].as_str()) {
            headers.insert(header::ORIGIN, value(&origins[1]));
        }
        headers.insert(header::HOST, value(origins[1].trim_start_matches("http://")));
        // A page that is to get a script must be readable.
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
    // Another length, and no longer what the tag stands for.
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
