use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;
use tracing::{debug, warn};

use crate::connection::{self, Context};
use crate::places::Places;
use crate::{Limits, RequestBody};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// After an accept that failed because files or memory are scarce: time for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client gets for which there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// Serves connections of `listener` until `stop` resolves; then requests that run have [`Limits::stop_time`] to end.
/// Dropping the future ends everything at once, but not connections that were upgraded.
///
/// `make_service` is called with each peer's address, as axum's `into_make_service_with_connect_info::<SocketAddr>()` and
/// `into_make_service()` expect it.
pub async fn serve<M, S, B>(listener: TcpListener, mut make_service: M, limits: Limits, stop: impl Future<Output = ()>)
where
    M: Service<SocketAddr, Response = S, Error = Infallible>,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (stopping, stopped) = watch::channel(false);
    let places = Places::new(&limits);
    let stop_time = limits.stop_time;
    let context = Context { limits: Arc::new(limits), places: places.clone(), stop: stopped };
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Some(place) = places.take(peer.ip()) else {
            debug!(%peer, "a connection was refused: all places are taken");
            // A client that is gone needs no answer.
            let _ = stream.try_write(FULL);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot turn off the delay of small packets");
        }
        let service = match make(&mut make_service, peer).await {
            Ok(service) => service,
            Err(never) => match never {},
        };
        connections.spawn(connection::run(stream, place, service, context.clone()));
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(stop_time, ended).await.is_err() {
        debug!("connections were cut off at the end");
    }
}

async fn make<M, S>(make_service: &mut M, peer: SocketAddr) -> Result<S, Infallible>
where
    M: Service<SocketAddr, Response = S, Error = Infallible>,
{
    poll_fn(|cx| make_service.poll_ready(cx)).await?;
    make_service.call(peer).await
}

/// The next connection. Failures of single connections are skipped; where files are scarce it waits and tries again.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(event_type = "accept_failed", %error, "cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
