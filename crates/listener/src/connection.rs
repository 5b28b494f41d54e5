use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower_service::Service;
use tracing::debug;

use crate::body::{BusyGuard, RequestBody, ResponseBody};
use crate::client_io::{Activity, ClientIo};
use crate::places::{Place, Places};
use crate::{Limits, server::BoxError};

/// What a connection needs besides its socket.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) limits: Arc<Limits>,
    pub(crate) places: Places,
    /// True once the server is to stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Answers the requests of one connection until it ends.
pub(crate) async fn run<S, B>(stream: TcpStream, place: Place, service: S, mut context: Context)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(ClientIo::new(stream, place, activity.clone(), &context.limits));
    let service = OneConnection { service, activity: activity.clone(), limits: context.limits.clone() };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(context.limits.idle_time)
        .max_header_size(context.limits.head_bytes)
        .max_buf_size(context.limits.head_bytes.max(MIN_BUFFER));
    if context.limits.headers != HYPER_HEADERS {
        http.max_headers(context.limits.headers);
    }
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let mut evicted = pin!(context.places.evicted());
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended with an error");
                }
                return;
            }
            () = &mut evicted, if !activity.is_busy() => {
                // At once: a shutdown in order would wait for the rest of a request head, for which room is needed here.
                debug!("an idle connection was closed to make room");
                return;
            }
            () = activity.changed() => {
                // An idle connection waits behind those that have been idle for longer.
                evicted.set(context.places.evicted());
            }
            _ = context.stop.wait_for(|stop| *stop) => break,
        }
    }
    // An idle connection ends now, a busy one with its response.
    connection.as_mut().graceful_shutdown();
    if let Err(error) = connection.await {
        debug!(%error, "a connection ended with an error");
    }
}

/// Header fields that hyper takes where nothing else is said; it is slower where something is.
const HYPER_HEADERS: usize = 100;
/// The smallest buffer that hyper takes, in bytes.
const MIN_BUFFER: usize = 8192;

/// Passes requests to the service, and keeps track of whether one is being answered.
struct OneConnection<S> {
    service: S,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for OneConnection<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut busy = BusyGuard::new(self.activity.clone());
        let stall_time = self.limits.stall_time;
        let request = request.map(|incoming| RequestBody::new(incoming, stall_time));
        let service = self.service.clone();
        Box::pin(async move {
            let response = hyper_util::service::TowerToHyperService::new(service);
            let response = hyper::service::Service::call(&response, request).await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                busy.keep();
            }
            Ok(response.map(|body| ResponseBody::new(body, busy)))
        })
    }
}
