//! What becomes of one request: refused, answered by the agent, or passed on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use listener::RequestBody;
use tokio::time::{Instant, sleep_until, timeout_at};
use tower_service::Service;

use crate::access::TokenInQuery;
use crate::body::AnyBody;
use crate::events::{self, Source};
use crate::forward::{ForwardError, Forwarder};
use crate::headers::{Origins, host_of, is_navigation, is_same_origin};
use crate::page_script::PAGE_SCRIPT;
use crate::pool::Connection;
use crate::reply::{self, Failure};
use crate::reports::Reports;
use crate::{PREFIX, Stage, Upstream, View, notices, page};

/// Between two tries to connect to a dev server that should listen.
const CONNECT_EVERY: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) forwarder: Forwarder,
    pub(crate) source: Source,
    pub(crate) reports: Option<Arc<Reports>>,
    /// The preview has answered before: it is worth a short wait.
    pub(crate) has_answered: AtomicBool,
}

/// Answers the requests of one client.
#[derive(Debug, Clone)]
pub(crate) struct OneClient {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

/// Makes an [`OneClient`] for each connection.
#[derive(Debug, Clone)]
pub(crate) struct Clients(pub(crate) Arc<Shared>);

impl Service<SocketAddr> for Clients {
    type Response = OneClient;
    type Error = Infallible;
    type Future = std::future::Ready<Result<OneClient, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: SocketAddr) -> Self::Future {
        std::future::ready(Ok(OneClient { shared: self.0.clone(), peer }))
    }
}

impl Service<Request<RequestBody>> for OneClient {
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let OneClient { shared, peer } = self.clone();
        Box::pin(async move { Ok(shared.answer(peer, request).await) })
    }
}

/// A path below [`PREFIX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnPath {
    /// What the waiting page follows.
    Events,
    /// The script of documents.
    PageScript,
    /// What that script sends.
    Report,
    /// What that script posts to the parent window.
    Notices,
}

impl OwnPath {
    fn parse(path: &str) -> Option<OwnPath> {
        Some(match path {
            "events" => OwnPath::Events,
            PAGE_SCRIPT => OwnPath::PageScript,
            "report" => OwnPath::Report,
            "notices" => OwnPath::Notices,
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            OwnPath::Report => Method::POST,
            OwnPath::Events | OwnPath::PageScript | OwnPath::Notices => Method::GET,
        }
    }
}

impl Shared {
    async fn answer(&self, peer: SocketAddr, request: Request<RequestBody>) -> Response<AnyBody> {
        let settings = &self.forwarder.settings;
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not passed on");
        }
        let host = match host_of(&request) {
            Ok(host) => host,
            Err(error) => return reply::refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if !settings.hosts.allows(&host) {
            let text = format!("the preview is not known as {host:?}; PREVIEW_HOSTS lists the names that it has");
            return reply::refusal(StatusCode::FORBIDDEN, &text);
        }
        if let Some(refused) = self.refuse_without_access(&request) {
            return refused;
        }
        if let Some(rest) = request.uri().path().strip_prefix(PREFIX) {
            let own = OwnPath::parse(rest);
            return self.answer_own(own, request, &host).await;
        }
        let navigation = is_navigation(&request);
        let Some((upstream, connection)) = self.connection(navigation).await else {
            return self.not_ready(navigation);
        };
        self.has_answered.store(true, Ordering::Relaxed);
        let origins = Origins { peer: peer.ip(), host: &host, upstream: &upstream };
        match self.forwarder.send(connection, &upstream, request, &origins).await {
            Ok(response) => response,
            Err(error) => self.failed(&error, navigation),
        }
    }

    /// The answer to a request for a path of the agent.
    async fn answer_own(&self, path: Option<OwnPath>, request: Request<RequestBody>, host: &str) -> Response<AnyBody> {
        let Some(path) = path else { return reply::refusal(StatusCode::NOT_FOUND, "not found") };
        if request.method() != path.method() {
            let text = format!("only {}", path.method());
            return reply::refusal(StatusCode::METHOD_NOT_ALLOWED, &text);
        }
        let Forwarder { settings, scripts, .. } = &self.forwarder;
        match (path, &self.reports, &scripts.first, &settings.notices) {
            (OwnPath::Events, ..) => events::follow(self.source.view.clone(), self.source.lines.clone()),
            (OwnPath::PageScript, _, Some(script), _) => script.answer(),
            (OwnPath::Report, Some(reports), ..) => reports.receive(request, host).await,
            (OwnPath::Notices, _, _, Some(_)) if !is_same_origin(&request, host) => {
                reply::refusal(StatusCode::FORBIDDEN, "only for pages of the preview")
            }
            (OwnPath::Notices, _, _, Some(notices)) => notices::follow(notices.subscribe()),
            _ => reply::refusal(StatusCode::NOT_FOUND, "not found"),
        }
    }

    /// The answer to a client that has not the token or its cookie, and to one that brings the token.
    fn refuse_without_access(&self, request: &Request<RequestBody>) -> Option<Response<AnyBody>> {
        let access = self.forwarder.settings.access.as_ref()?;
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        match access.in_query(target) {
            Some(TokenInQuery::Right { rest }) => {
                return Some(reply::redirect_with_cookie(&rest, &access.set_cookie()));
            }
            Some(TokenInQuery::Wrong) => {}
            None if access.is_in(request.headers()) => return None,
            None => {}
        }
        Some(if is_navigation(request) {
            reply::page(StatusCode::UNAUTHORIZED, page::no_access(), &self.forwarder.settings.frame_ancestors)
        } else {
            reply::refusal(
                StatusCode::UNAUTHORIZED,
                "this preview is private: open it with the link that has its token",
            )
        })
    }

    /// A connection to the dev server, waited for where that is worth it.
    async fn connection(&self, navigation: bool) -> Option<(Upstream, Connection)> {
        let limits = &self.forwarder.settings.limits;
        let patience = match navigation {
            true if self.has_answered.load(Ordering::Relaxed) => limits.page_wait,
            true => Duration::ZERO,
            false => limits.request_wait,
        };
        let deadline = Instant::now() + patience;
        let mut view = self.source.view.clone();
        // A page shows a failure at once.
        let is_settled = |view: &View| view.upstream.is_some() || (navigation && view.stage == Stage::Failed);
        loop {
            let settled = timeout_at(deadline, view.wait_for(is_settled)).await;
            let upstream = settled.ok()?.ok()?.upstream.clone()?;
            if let Ok(connection) = self.forwarder.connect(&upstream).await {
                return Some((upstream, connection));
            }
            let again = Instant::now() + CONNECT_EVERY;
            if again > deadline {
                return None;
            }
            sleep_until(again).await;
        }
    }

    fn not_ready(&self, navigation: bool) -> Response<AnyBody> {
        let view = self.source.view.borrow().clone();
        if !navigation {
            return reply::failure(Failure::NotReady, &view);
        }
        let html = page::waiting(&view, &self.source.lines);
        reply::page(StatusCode::SERVICE_UNAVAILABLE, html, &self.forwarder.settings.frame_ancestors)
    }

    fn failed(&self, error: &ForwardError, navigation: bool) -> Response<AnyBody> {
        let Some(failure) = error.failure() else {
            return reply::refusal(StatusCode::REQUEST_TIMEOUT, "the request body stopped in the middle");
        };
        match failure {
            Failure::NotReady => self.not_ready(navigation),
            failure if navigation => {
                let html = page::broken(failure, &error.to_string(), &self.source.lines);
                reply::page(failure.status(), html, &self.forwarder.settings.frame_ancestors)
            }
            failure => reply::failure(failure, &self.source.view.borrow()),
        }
    }
}
