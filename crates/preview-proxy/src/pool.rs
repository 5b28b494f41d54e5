//! Connections to the dev server.

use std::io;
use std::sync::{Mutex, MutexGuard};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::debug;

use crate::body::AnyBody;
use crate::{Limits, Upstream};

/// A loopback connection is made at once or not at all.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Header fields of one answer. Frameworks send some tens.
const MAX_HEADERS: usize = 200;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Idle connections to one dev server.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    upstream: Option<Upstream>,
    connections: Vec<(SendRequest<AnyBody>, Instant)>,
}

/// A connection that can take a request.
pub(crate) struct Connection {
    sender: SendRequest<AnyBody>,
    upstream: Upstream,
    /// It has carried requests before, so the dev server may be closing it.
    pub(crate) reused: bool,
}

/// A request that had no answer.
pub(crate) struct Unanswered {
    /// The request, where nothing of it was sent.
    pub(crate) request: Option<Request<AnyBody>>,
    pub(crate) error: hyper::Error,
}

impl Pool {
    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// Nobody listens at the address, or it does not speak TLS.
    pub(crate) async fn connect(&self, upstream: &Upstream, limits: &Limits) -> io::Result<Connection> {
        match self.take(upstream, limits) {
            Some(sender) => Ok(Connection { sender, upstream: upstream.clone(), reused: true }),
            None => self.connect_anew(upstream, limits).await,
        }
    }

    /// A connection that carried no request yet.
    ///
    /// # Errors
    /// As [`Pool::connect`].
    pub(crate) async fn connect_anew(&self, upstream: &Upstream, limits: &Limits) -> io::Result<Connection> {
        let opened = timeout(CONNECT_TIME, open(upstream)).await;
        let stream = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let handshake = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(limits.answer_head_bytes)
            .max_buf_size(limits.answer_head_bytes)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "a connection to the dev server ended with an error");
            }
        });
        Ok(Connection { sender, upstream: upstream.clone(), reused: false })
    }

    fn take(&self, upstream: &Upstream, limits: &Limits) -> Option<SendRequest<AnyBody>> {
        let mut idle = self.lock();
        if !idle.upstream.as_ref().is_some_and(|known| known.is_same(upstream)) {
            idle.connections.clear();
            idle.upstream = Some(upstream.clone());
        }
        while let Some((sender, since)) = idle.connections.pop() {
            if since.elapsed() < limits.pool_time && sender.is_ready() && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request, once its answer has been read to the end.
    pub(crate) async fn give_back(&self, connection: Connection, limits: &Limits) {
        let Connection { mut sender, upstream, .. } = connection;
        if sender.ready().await.is_err() {
            return;
        }
        let mut idle = self.lock();
        let is_current = idle.upstream.as_ref().is_some_and(|known| known.is_same(&upstream));
        if is_current && idle.connections.len() < limits.pool_size {
            idle.connections.push((sender, Instant::now()));
        }
    }

    /// Closes what has been idle for too long.
    pub(crate) fn close_idle(&self, limits: &Limits) {
        self.lock().connections.retain(|(_, since)| since.elapsed() < limits.pool_time);
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("no panic while held")
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection broke, or what came back is not HTTP.
    pub(crate) async fn send(&mut self, request: Request<AnyBody>) -> Result<Response<Incoming>, Unanswered> {
        self.sender.try_send_request(request).await.map_err(|mut failed| {
            let request = failed.take_message();
            Unanswered { request, error: failed.into_error() }
        })
    }
}

/// Whether somebody listens there.
pub(crate) async fn is_reachable(upstream: &Upstream) -> bool {
    matches!(timeout(CONNECT_TIME, TcpStream::connect(upstream.address)).await, Ok(Ok(_)))
}

async fn open(upstream: &Upstream) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(upstream.address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &upstream.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}
