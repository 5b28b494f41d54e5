//! What the proxy answers by itself.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE,
};
use http::{Response, StatusCode};
use serde_json::json;

use crate::body::{AnyBody, whole};
use crate::{FrameAncestors, View};

/// Seconds after which a client may ask again.
const RETRY_SECONDS: u32 = 2;

/// Why a request was not passed on, as `code` of the JSON answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no dev server yet, or no longer.
    NotReady,
    /// The dev server's answer was broken, or none.
    BadAnswer,
    /// The dev server did not answer in time.
    NoAnswer,
}

impl Failure {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Failure::NotReady => "preview_not_ready",
            Failure::BadAnswer => "dev_server_bad_answer",
            Failure::NoAnswer => "dev_server_no_answer",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Failure::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Failure::BadAnswer => StatusCode::BAD_GATEWAY,
            Failure::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// An answer for programs: which failure, and what the agent is doing.
pub(crate) fn failure(failure: Failure, view: &View) -> Response<AnyBody> {
    let reasons: Vec<_> = view.reasons.iter().map(|reason| reason.code.as_str()).collect();
    let body = json!({"code": failure.code(), "phase": view.phase, "reasons": reasons}).to_string();
    let mut response = with_type(failure.status(), "application/json", body);
    if failure == Failure::NotReady {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    response
}

/// A page of the agent.
pub(crate) fn page(status: StatusCode, html: String, frame_ancestors: &FrameAncestors) -> Response<AnyBody> {
    let mut response = with_type(status, "text/html; charset=utf-8", html);
    let mut policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
        connect-src 'self'; base-uri 'none'; form-action 'none'"
        .to_owned();
    if let Some(directive) = frame_ancestors.directive() {
        policy.push_str("; ");
        policy.push_str(&directive);
    }
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    response
}

/// A request that is refused, in one line.
pub(crate) fn refusal(status: StatusCode, text: &str) -> Response<AnyBody> {
    let mut response = with_type(status, "text/plain; charset=utf-8", format!("{text}\n"));
    if status == StatusCode::BAD_REQUEST {
        // What follows such a request on its connection cannot be trusted.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Leads to `target` with a cookie set.
pub(crate) fn redirect_with_cookie(target: &str, cookie: &str) -> Response<AnyBody> {
    let mut response = with_type(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let headers = response.headers_mut();
    for (name, value) in [(LOCATION, target), (SET_COOKIE, cookie)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    // The address that brought the token goes nowhere else.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
