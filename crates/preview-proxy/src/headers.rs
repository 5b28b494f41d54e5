//! What changes in the headers on the way to the dev server and back.

use std::net::IpAddr;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, EXPECT, HOST,
    HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Uri};

use crate::access::remove_cookie;
use crate::{FrameAncestors, Upstream};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What concerns one connection and not the message, besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Why a request's head cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHead {
    #[error("the request must have exactly one Host header")]
    Host,
    #[error("the request's target is not a path or an http URL")]
    Target,
}

/// The host that a request is for: that of an absolute target, else of the one `Host` header.
///
/// # Errors
/// There is none, there are several, or the target is not one of a server.
pub(crate) fn host_of<B>(request: &Request<B>) -> Result<String, BadHead> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| BadHead::Host)?,
        _ => return Err(BadHead::Host),
    };
    let uri = request.uri();
    let host = match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https" | "ws" | "wss"), Some(authority)) => authority.as_str(),
        (None, None) if uri.path().starts_with('/') => host,
        _ => return Err(BadHead::Target),
    };
    let is_clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(is_clean) { Err(BadHead::Host) } else { Ok(host.to_owned()) }
}

/// Whether a browser asks for a page to show.
pub(crate) fn is_navigation<B>(request: &Request<B>) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
    request.method() == Method::GET && request.headers().get_all(ACCEPT).iter().any(accepts)
}

/// Whether a request asks for a websocket. Upgrades to anything else are not passed on.
pub(crate) fn is_websocket<B>(request: &Request<B>) -> bool {
    let has = |name: HeaderName, wanted: &str| tokens(request.headers(), &name).any(|token| token == wanted);
    request.method() == Method::GET && has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// Where a request comes from, and what of it the dev server is told.
pub(crate) struct Origins<'a> {
    pub(crate) peer: IpAddr,
    /// See [`host_of`].
    pub(crate) host: &'a str,
    pub(crate) upstream: &'a Upstream,
}

/// Makes a request's head one that the dev server takes for its own: `Host` and `Origin` are those of its address, and
/// `X-Forwarded-*` have what the client sent.
pub(crate) fn prepare_request<B>(request: &mut Request<B>, origins: &Origins<'_>) {
    let websocket = is_websocket(request);
    let unsafe_method = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = target.parse::<Uri>().unwrap_or_default();
    *request.uri_mut() = target;
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    remove_cookie(headers);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let own_origin = origins.upstream.origin();
    let from_own_page = headers.get(ORIGIN).is_some_and(|origin| is_origin_of(origin, origins.host, headers));
    set(headers, HOST, own_origin.split_once("//").map_or("", |(_, host)| host));
    forward(headers, origins);
    if from_own_page {
        set(headers, ORIGIN, &own_origin);
        if unsafe_method {
            // Frameworks refuse forms whose `Origin` is not their host. Some compare it with `Host`, others with
            // `X-Forwarded-Host` where there is one: without it, all compare with `Host`.
            headers.remove(FORWARDED_HOST);
        }
    }
}

fn forward(headers: &mut HeaderMap, origins: &Origins<'_>) {
    // A proxy in front knows better than we do.
    if !headers.contains_key(FORWARDED_HOST) {
        set(headers, FORWARDED_HOST, origins.host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    let known: Vec<_> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let peer = origins.peer.to_canonical().to_string();
    let list = known.into_iter().chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    set(headers, FORWARDED_FOR, &list);
}

/// Whether an `Origin` is the site that the request itself is for.
fn is_origin_of(origin: &HeaderValue, host: &str, headers: &HeaderMap) -> bool {
    let Some((_, origin)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
    let forwarded = headers.get(FORWARDED_HOST).and_then(|value| value.to_str().ok());
    origin.eq_ignore_ascii_case(host) || forwarded.is_some_and(|forwarded| origin.eq_ignore_ascii_case(forwarded))
}

/// Whether a page of the preview itself sends this request. Browsers tell it by `Sec-Fetch-Site`, which pages cannot set;
/// those that do not send it (also: plain HTTP to another host than localhost) send `Origin` with each `POST`.
pub(crate) fn is_same_origin<B>(request: &Request<B>, host: &str) -> bool {
    let headers = request.headers();
    match (headers.get(FETCH_SITE), headers.get(ORIGIN), headers.get(REFERER)) {
        (Some(site), ..) => site == "same-origin",
        (None, Some(origin), _) => is_origin_of(origin, host, headers),
        (None, None, Some(referer)) if *request.method() == Method::GET => {
            let origin = referer.to_str().ok().and_then(origin_of_url);
            origin.is_some_and(|origin| is_origin_of(&origin, host, headers))
        }
        (None, None, _) => false,
    }
}

/// `scheme://host:port` of an URL.
fn origin_of_url(url: &str) -> Option<HeaderValue> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    HeaderValue::from_str(&format!("{scheme}://{authority}")).ok()
}

/// Lets the dev server send a page that a script can be added to.
pub(crate) fn ask_for_plain_text(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Makes an answer's head one of the preview's address.
pub(crate) fn prepare_response(headers: &mut HeaderMap, upstream: &Upstream, frame_ancestors: &FrameAncestors) {
    remove_hop_by_hop(headers);
    let target = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    if let Some(path) = target.and_then(|target| own_path(target, upstream)) {
        set(headers, LOCATION, &path);
    }
    if let (true, Some(directive)) = (is_html(headers), frame_ancestors.directive())
        && let Ok(value) = HeaderValue::from_str(&directive)
    {
        headers.append(CONTENT_SECURITY_POLICY, value);
    }
}

/// The path of an absolute URL that leads to the dev server's own address, which the client cannot reach.
fn own_path(target: &str, upstream: &Upstream) -> Option<String> {
    let (_, rest) = target.split_once("//").filter(|(scheme, _)| matches!(*scheme, "" | "http:" | "https:"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let port = upstream.address.port();
    let own = [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    own.iter().any(|own| own == host).then(|| format!("/{}", path.strip_prefix('/').unwrap_or(path)))
}

pub(crate) fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// The length that a body is said to have.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = tokens(headers, &CONNECTION).collect();
    for name in named.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
        // These are the message's own, whatever `Connection` says.
        if !matches!(name, HOST | CONTENT_LENGTH | CONTENT_TYPE) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The comma separated words of a header, in lower case.
fn tokens(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &[(&str, &str)], target: &str) -> Request<()> {
        let mut request = Request::builder().uri(target);
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn upstream() -> Upstream {
        Upstream { address: "127.0.0.1:5173".parse().expect("an address"), tls: None }
    }

    fn prepared(mut request: Request<()>) -> Request<()> {
        let host = host_of(&request).expect("a host");
        let upstream = upstream();
        let origins = Origins { peer: [10, 0, 0, 9].into(), host: &host, upstream: &upstream };
        prepare_request(&mut request, &origins);
        request
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        assert_eq!(host_of(&request(&[], "/")), Err(BadHead::Host));
        assert_eq!(host_of(&request(&[("host", "a"), ("host", "a")], "/")), Err(BadHead::Host));
        assert_eq!(host_of(&request(&[("host", "")], "/")), Err(BadHead::Host));
        assert_eq!(host_of(&request(&[("host", "u@a")], "/")), Err(BadHead::Host));
        assert_eq!(host_of(&request(&[("host", "a")], "http://b:1/x")), Ok("b:1".to_owned()));
        assert_eq!(host_of(&request(&[("host", "a")], "ftp://b/x")), Err(BadHead::Target));
        assert_eq!(host_of(&request(&[("host", "a")], "*")), Err(BadHead::Target));
    }

    #[test]
    fn the_dev_server_sees_its_own_name_and_the_clients_beside_it() {
        let head = [
            ("host", "app.example.com"),
            ("origin", "https://app.example.com"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
        ];
        let request = prepared(request(&head, "http://app.example.com/x?y=1"));
        let headers = request.headers();
        assert_eq!(request.uri(), "/x?y=1");
        assert_eq!(headers[HOST], "localhost:5173");
        assert_eq!(headers[ORIGIN], "http://localhost:5173");
        assert_eq!(headers[FORWARDED_HOST], "app.example.com");
        assert_eq!(headers[FORWARDED_PROTO], "https");
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.7, 10.0.0.9");
        for gone in ["connection", "x-private", "te", "upgrade"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn another_sites_origin_stays() {
        let request = prepared(request(&[("host", "app.example.com"), ("origin", "https://evil.test")], "/"));
        assert_eq!(request.headers()[ORIGIN], "https://evil.test");
    }

    #[test]
    fn a_form_of_the_own_page_passes_every_frameworks_check() {
        let mut form = request(&[("host", "a.test"), ("origin", "https://a.test")], "/");
        *form.method_mut() = Method::POST;
        let form = prepared(form);
        assert_eq!(form.headers()[ORIGIN], "http://localhost:5173");
        assert!(!form.headers().contains_key(FORWARDED_HOST));
    }

    #[test]
    fn a_websocket_keeps_its_upgrade() {
        let head = [("host", "a"), ("connection", "Upgrade"), ("upgrade", "WebSocket")];
        assert!(is_websocket(&request(&head, "/")));
        let request = prepared(request(&head, "/"));
        assert_eq!(
            (&request.headers()[CONNECTION], &request.headers()[UPGRADE]),
            (&"upgrade".parse().expect("a value"), &"websocket".parse().expect("a value"))
        );
    }

    #[test]
    fn redirects_to_the_dev_servers_address_become_paths() {
        let path = |target| own_path(target, &upstream());
        assert_eq!(path("http://localhost:5173/app/?x"), Some("/app/?x".to_owned()));
        assert_eq!(path("//127.0.0.1:5173"), Some("/".to_owned()));
        assert_eq!(path("http://localhost:5173?x=1"), Some("/?x=1".to_owned()));
        assert_eq!(path("http://localhost:5174/"), None);
        assert_eq!(path("/app//localhost:5173/"), None);
    }
}
