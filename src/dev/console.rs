//! The console: one page that shows the loop from a save to the preview, and lets people edit and make trouble.
//!
//! It is served to the loopback alone and to its own page alone ([`guard`]). The backend's places are served beside it,
//! so that the official client in the page talks to its own origin and no other origin has to be let in.

mod feed;
mod guard;
mod key;
mod page;
mod window;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use local_backend::{AgentReports, Faults};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use feed::Feed;
pub use key::Key;

use super::local::Local;
use crate::cli::exit::Exit;
use crate::telemetry::status::Board;
use window::Window;

/// Where no port is asked for and this one is free: so that a bookmark stays true.
const USUAL_PORT: u16 = 3100;

/// What there is to show.
pub struct Shown {
    /// The folder that is mirrored.
    pub folder: Option<PathBuf>,
    /// Where the dev server answers; none without an agent.
    pub preview_port: Option<u16>,
    /// What the agent says of itself; none without one.
    pub board: Option<Board>,
    /// Whom it lets in.
    pub key: Key,
}

/// What the console's places share.
struct Desk {
    feed: Feed,
    board: Option<Board>,
    faults: Faults,
    /// What agents elsewhere have told on the project's status topic.
    agents: AgentReports,
    key: Key,
    /// What the page needs to begin, the editor's token among it.
    session: Value,
}

/// The running console. It ends when it is dropped.
pub struct Console {
    server: JoinHandle<()>,
    _window: Option<Window>,
}

impl Console {
    /// Serves on `port`, or where none is asked for on the usual one or a free one, and says where.
    pub async fn start(port: Option<u16>, local: &Local, feed: Feed, shown: Shown) -> Result<Console, Exit> {
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
        let window = match shown.preview_port {
            Some(port) => Some(Window::open(port).await.map_err(|error| {
                Exit::unavailable(format!("cannot serve the console's window on the preview: {error}"))
            })?),
            None => None,
        };
        let session = local.session();
        let desk = Arc::new(Desk {
            session: json!({
                "run": feed.run(),
                "project_id": session.project_id,
                "anon_key": session.anon_key,
                "editor_token": local.editor_token(),
                "folder": shown.folder.map(|folder| folder.display().to_string()),
                "preview_url": shown.preview_port.map(|port| format!("http://localhost:{port}/")),
                "window_url": window.as_ref().map(Window::url),
            }),
            feed,
            board: shown.board,
            faults: local.faults(),
            agents: local.agents(),
            key: shown.key,
        });
        let app =
            router(desk.clone(), local.router(), address.port()).into_make_service_with_connect_info::<SocketAddr>();
        let url = desk.key.address(&format!("http://{address}/"));
        info!(event_type = "console_listening", url, "the console is at {url}");
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                warn!(event_type = "console_failed", %error, "the console ended: {error}");
            }
        });
        Ok(Console { server, _window: window })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn bind(port: Option<u16>) -> io::Result<TcpListener> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match at(port.unwrap_or(USUAL_PORT)).await {
        Err(error) if port.is_none() && error.kind() == io::ErrorKind::AddrInUse => at(0).await,
        other => other,
    }
}

fn router(desk: Arc<Desk>, backend: Router, port: u16) -> Router {
    let guard = guard::Guard { port, key: desk.key.clone() };
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/console/proof", get(proof))
        .route("/console/session", get(session))
        .route("/console/feed", get(feed::follow))
        .route("/console/dev-server/kill", post(kill_dev_server))
        .with_state(desk)
        .fallback_service(backend)
        .layer(middleware::from_fn_with_state(guard, guard::guard))
}

#[derive(Deserialize)]
struct Asked {
    nonce: String,
}

/// Before a page sends its key: see [`Key::proof`].
async fn proof(State(desk): State<Arc<Desk>>, headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    // The guard has let only the console's own names through.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match desk.key.proof(host, &asked.nonce) {
        Some(proof) => proof.into_response(),
        None => (StatusCode::BAD_REQUEST, "the nonce is 1 to 64 hexadecimal digits\n").into_response(),
    }
}

async fn session(State(desk): State<Arc<Desk>>) -> Json<Value> {
    Json(desk.session.clone())
}

/// As the kernel does when memory runs out.
async fn kill_dev_server(State(desk): State<Arc<Desk>>) -> Response {
    let status = desk.board.as_ref().map(Board::status).unwrap_or_default();
    let pid = status["dev_server"]["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let Some(pid) = pid else {
        return (StatusCode::CONFLICT, "no dev server is running\n").into_response();
    };
    match kill_process(pid, Signal::KILL) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, format!("killing process {pid:?}: {error}\n")).into_response(),
    }
}
