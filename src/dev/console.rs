//! The console: one page that shows the way of an edit from its save to the preview, and lets people edit files and
//! switch faults on.
//!
//! It is served only to this machine and only to its own page ([`guard`]). The backend's routes are served beside it, so
//! that the official client in the page uses its own origin and no other origin has to be allowed.

mod feed;
mod guard;
mod key;
mod page;
mod preview_frame;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use listener::Limits;
use local_backend::{AgentReports, Faults};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;

pub use feed::Feed;
pub use key::Key;
pub use preview_frame::FRAME_SCRIPT;

use super::local::Local;
use crate::cli::exit::Exit;
use crate::telemetry::status::SharedStatus;
use preview_frame::PreviewFrame;

/// The port where none is given and this one is free, so that a bookmark stays valid.
const DEFAULT_PORT: u16 = 3100;

/// What the console shows.
pub struct ConsoleOptions {
    /// The folder that is mirrored.
    pub folder: Option<PathBuf>,
    /// None without an agent.
    pub preview: Option<ShownPreview>,
    /// The status of the agent; none without one.
    pub status: Option<SharedStatus>,
    /// The key that a page must send.
    pub key: Key,
}

/// Where the preview is.
pub struct ShownPreview {
    /// Its port on the loopback.
    pub port: u16,
    /// Whether its pages have [`FRAME_SCRIPT`].
    pub frame_script: FrameScript,
}

/// Whether the preview's pages have [`FRAME_SCRIPT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameScript {
    /// The preview's proxy adds it.
    Added,
    /// The console's own proxy must add it.
    Missing,
}

/// What the handlers share.
struct ConsoleState {
    feed: Feed,
    status: Option<SharedStatus>,
    faults: Faults,
    /// What other agents have published on the project's status topic.
    agents: AgentReports,
    key: Key,
    /// What the page needs at its start, with the editor's token.
    session: Value,
}

/// The running console. It ends when it is dropped.
pub struct Console {
    server: JoinHandle<()>,
    _preview_frame: Option<PreviewFrame>,
}

impl Console {
    /// Serves on `port`; where none is given, on the default one or a free one. Logs the address.
    ///
    /// # Errors
    /// A port that is in use or cannot be bound (69).
    pub async fn start(port: Option<u16>, local: &Local, feed: Feed, options: ConsoleOptions) -> Result<Console, Exit> {
        let listener = bind(port).await.map_err(|error| {
            Exit::unavailable(match (error.kind(), port) {
                (io::ErrorKind::AddrInUse, Some(port)) => {
                    format!("port {port} is in use: choose another for the console with --console-port")
                }
                _ => format!("cannot serve the console: {error}"),
            })
        })?;
        let address =
            listener.local_addr().map_err(|error| Exit::fault(format!("cannot serve the console: {error}")))?;
        let preview_url = options.preview.as_ref().map(|preview| format!("http://localhost:{}/", preview.port));
        let preview_frame = match options.preview {
            Some(ShownPreview { port, frame_script: FrameScript::Missing }) => {
                let frame = PreviewFrame::start(port);
                let failed = |error| Exit::unavailable(format!("cannot serve the preview in the console: {error}"));
                Some(frame.map_err(failed)?)
            }
            _ => None,
        };
        let session = local.session();
        let console = Arc::new(ConsoleState {
            session: json!({
                "run": feed.run(),
                "project_id": session.project_id,
                "anon_key": session.anon_key,
                "editor_token": local.editor_token(),
                "folder": options.folder.map(|folder| folder.display().to_string()),
                "preview_url": preview_url.clone(),
                "frame_url": preview_frame.as_ref().map(PreviewFrame::url).or(preview_url),
            }),
            feed,
            status: options.status,
            faults: local.faults(),
            agents: local.agents(),
            key: options.key,
        });
        let app =
            router(console.clone(), local.router(), address.port()).into_make_service_with_connect_info::<SocketAddr>();
        let url = console.key.address(&format!("http://{address}/"));
        info!(event_type = "console_listening", url, "the console is at {url}");
        let server = tokio::spawn(listener::serve(listener, app, Limits::default(), std::future::pending()));
        Ok(Console { server, _preview_frame: preview_frame })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn bind(port: Option<u16>) -> io::Result<TcpListener> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match at(port.unwrap_or(DEFAULT_PORT)).await {
        Err(error) if port.is_none() && error.kind() == io::ErrorKind::AddrInUse => at(0).await,
        other => other,
    }
}

fn router(console: Arc<ConsoleState>, backend: Router, port: u16) -> Router {
    let guard = guard::Guard { port, key: console.key.clone() };
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/console/proof", get(proof))
        .route("/console/session", get(session))
        .route("/console/feed", get(feed::follow))
        .route("/console/dev-server/kill", post(kill_dev_server))
        .with_state(console)
        .fallback_service(backend)
        .layer(middleware::from_fn_with_state(guard, guard::guard))
}

#[derive(Deserialize)]
struct ProofQuery {
    nonce: String,
}

/// Before a page sends its key: see [`Key::proof`].
async fn proof(
    State(console): State<Arc<ConsoleState>>,
    headers: HeaderMap,
    Query(query): Query<ProofQuery>,
) -> Response {
    // The guard has allowed only names of the console.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match console.key.proof(host, &query.nonce) {
        Some(proof) => proof.into_response(),
        None => (StatusCode::BAD_REQUEST, "the nonce is 1 to 64 hexadecimal digits\n").into_response(),
    }
}

async fn session(State(console): State<Arc<ConsoleState>>) -> Json<Value> {
    Json(console.session.clone())
}

/// As the kernel does when memory runs out.
async fn kill_dev_server(State(console): State<Arc<ConsoleState>>) -> Response {
    let status = console.status.as_ref().map(SharedStatus::to_json).unwrap_or_default();
    let pid = status
        .pointer("/dev_server/pid")
        .and_then(|pid| pid.as_i64())
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let Some(pid) = pid else {
        return (StatusCode::CONFLICT, "no dev server is running\n").into_response();
    };
    match kill_process(pid, Signal::KILL) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, format!("killing process {pid:?}: {error}\n")).into_response(),
    }
}
