//! One request to the dev server, and its answer.

use std::io;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use listener::StalledBody;
use tokio::time::timeout;
use tracing::debug;

use crate::body::{AnyBody, streamed, whole};
use crate::headers::{self, Origins};
use crate::inject::Scripts;
use crate::pool::{Connection, Pool};
use crate::reply::Failure;
use crate::{Settings, Upstream, upgrade};

/// Why there is no answer of the dev server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// It does not listen. The request was not touched and can be tried again.
    #[error("cannot connect to the dev server")]
    Connect(#[source] io::Error),
    #[error("the connection to the dev server broke, or its answer is not HTTP: {0}")]
    Broken(hyper::Error),
    #[error("the request body stopped in the middle")]
    StalledBody,
    #[error("the dev server agreed to another protocol than the one asked for")]
    WrongUpgrade,
    #[error("no answer came within {0} s")]
    Late(u64),
}

impl ForwardError {
    /// How the client is told; none: it is the client's own fault.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            ForwardError::Connect(_) => Some(Failure::NotReady),
            ForwardError::Broken(_) | ForwardError::WrongUpgrade => Some(Failure::BadAnswer),
            ForwardError::Late(_) => Some(Failure::NoAnswer),
            ForwardError::StalledBody => None,
        }
    }
}

/// Passes requests on to dev servers.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) pool: Arc<Pool>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) scripts: Scripts,
}

impl Forwarder {
    /// A connection to the dev server, before anything of a request is given away.
    ///
    /// # Errors
    /// [`ForwardError::Connect`] alone.
    pub(crate) async fn connect(&self, upstream: &Upstream) -> Result<Connection, ForwardError> {
        self.pool.connect(upstream, &self.settings.limits).await.map_err(ForwardError::Connect)
    }

    /// Sends a request whose head has been prepared for the dev server, and gives the answer with its body still to come.
    ///
    /// # Errors
    /// See [`ForwardError`].
    pub(crate) async fn send<B>(
        &self,
        mut connection: Connection,
        upstream: &Upstream,
        mut request: Request<B>,
        origins: &Origins<'_>,
    ) -> Result<Response<AnyBody>, ForwardError>
    where
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<crate::body::BoxError>,
    {
        let wants_websocket = headers::is_websocket(&request);
        let takes_scripts = self.scripts.are_for(&request);
        headers::prepare_request(&mut request, origins);
        if takes_scripts {
            headers::ask_for_plain_text(request.headers_mut());
        }
        let client = wants_websocket.then(|| hyper::upgrade::on(&mut request));
        let answer_time = self.settings.limits.answer_time;
        let again = Again::of(&request);
        let sent = async {
            match connection.send(boxed(request)).await {
                Ok(response) => Ok(response),
                // The dev server closed the connection at the moment when it was taken again.
                Err(unanswered) if connection.reused => {
                    let Some(request) = unanswered.request.or_else(|| again.request()) else {
                        return Err(broken(unanswered.error));
                    };
                    let anew = self.pool.connect_anew(upstream, &self.settings.limits).await;
                    connection = anew.map_err(ForwardError::Connect)?;
                    connection.send(request).await.map_err(|unanswered| broken(unanswered.error))
                }
                Err(unanswered) => Err(broken(unanswered.error)),
            }
        };
        let response = timeout(answer_time, sent).await.map_err(|_| ForwardError::Late(answer_time.as_secs()))??;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switched(response, client);
        }
        let (pool, limits) = (self.pool.clone(), self.settings.limits.clone());
        tokio::spawn(async move { pool.give_back(connection, &limits).await });
        let mut response = response.map(streamed);
        *response.version_mut() = http::Version::HTTP_11;
        headers::prepare_response(response.headers_mut(), upstream, &self.settings.frame_ancestors);
        Ok(if takes_scripts { self.scripts.add_to(response) } else { response })
    }
}

/// A request that can be sent a second time: one without a body that changes nothing.
struct Again(Option<http::request::Parts>);

impl Again {
    fn of<B: Body>(request: &Request<B>) -> Again {
        let repeatable = request.body().is_end_stream()
            && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
            && !headers::is_websocket(request);
        Again(repeatable.then(|| {
            let mut copy = Request::new(());
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.headers_mut() = request.headers().clone();
            copy.into_parts().0
        }))
    }

    fn request(self) -> Option<Request<AnyBody>> {
        self.0.map(|parts| Request::from_parts(parts, whole("")))
    }
}

fn boxed<B>(request: Request<B>) -> Request<AnyBody>
where
    B: Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<crate::body::BoxError>,
{
    request.map(streamed)
}

fn broken(error: hyper::Error) -> ForwardError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if cause.is::<StalledBody>() {
            return ForwardError::StalledBody;
        }
        source = cause.source();
    }
    debug!(%error, "the dev server gave no answer");
    ForwardError::Broken(error)
}

/// The dev server speaks another protocol from here on.
fn switched(mut response: Response<Incoming>, client: Option<OnUpgrade>) -> Result<Response<AnyBody>, ForwardError> {
    let websocket = http::HeaderValue::from_static("websocket");
    let agreed = response.headers().get(http::header::UPGRADE);
    let agreed = agreed.is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let Some(client) = client.filter(|_| agreed) else { return Err(ForwardError::WrongUpgrade) };
    upgrade::join(client, hyper::upgrade::on(&mut response));
    let mut response = response.map(|_| whole(""));
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
    headers.insert(http::header::UPGRADE, websocket);
    Ok(response)
}
