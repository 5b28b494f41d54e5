//! Who may ask the console anything: its own page, on this machine, with the user's key.
//!
//! The page holds a token that writes the project, so every place behind this is as private as the token. Three doors
//! have to be shut: other machines (the peer's address), names of other sites that point here (DNS rebinding: the `Host`
//! header), and pages of other sites, the previewed project's own among them, that send requests from the same browser
//! (`Origin` and `Sec-Fetch-Site`). Other users of this machine are kept out by the key: it is asked for wherever a token,
//! the log or a switch is. The backend's own places need a token each.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Key;

/// The page runs its own script alone, talks to its own origin alone, shows the preview in a frame and is itself in none.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' blob: data:; connect-src 'self'; frame-src http://localhost:*; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the console answers this machine alone")]
    Peer,
    #[error("the console is not known under this name: open it at the address that was printed")]
    Host,
    #[error("the console answers its own page alone")]
    Origin,
    #[error("the console's key is missing: open the whole address that was printed, with what stands behind the #")]
    Key,
}

/// The console's port, and whom it lets in.
#[derive(Clone)]
pub struct Guard {
    pub port: u16,
    pub key: Key,
}

/// Lets requests of the console's own page through, and gives every answer its headers.
pub async fn guard(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let page = request.uri().path() == "/";
    let judged = judge(guard.port, peer.ip(), request.method(), page, request.headers());
    let mut response = match judged.and_then(|()| guard.asks_for_key(request.uri(), request.headers())) {
        Ok(()) => next.run(request).await,
        Err(refusal) => (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Guard {
    /// In a header of its own, or, for the feed, in the query: an `EventSource` sends no headers.
    fn asks_for_key(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let open = match uri.path() {
            "/console/proof" => true,
            path => !path.starts_with("/console/") && !path.starts_with("/_local/"),
        };
        let in_header = headers.get("x-console-key").and_then(|key| key.to_str().ok());
        let in_query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("key="));
        let given = in_header.or_else(|| in_query().filter(|_| uri.path() == "/console/feed"));
        if open || given.is_some_and(|given| self.key.is(given)) { Ok(()) } else { Err(Refusal::Key) }
    }
}

fn judge(port: u16, peer: IpAddr, method: &Method, page: bool, headers: &HeaderMap) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() {
        return Err(Refusal::Peer);
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let names = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
    let host = text("host").filter(|host| names.iter().any(|name| name == host)).ok_or(Refusal::Host)?;

    // A browser names the origin of everything that changes something and of every websocket.
    let must_say = !matches!(*method, Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE);
    match text("origin") {
        Some(origin) if origin == format!("http://{host}") => {}
        None if !must_say => {}
        _ => return Err(Refusal::Origin),
    }
    // A link from elsewhere may open the page: it shows nothing to where it came from.
    let link = page && *method == Method::GET && text("sec-fetch-dest") == Some("document");
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if link => Ok(()),
        Some(_) => Err(Refusal::Origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 3100;

    fn judged(peer: &str, method: Method, page: bool, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        judge(PORT, peer.parse().unwrap(), &method, page, &headers.collect::<HeaderMap>())
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:3100");

    #[test]
    fn the_own_page_and_a_typed_address_are_let_in() {
        assert_eq!(judged("127.0.0.1", Method::GET, true, &[HERE, ("sec-fetch-site", "none")]), Ok(()));
        let own = ("origin", "http://127.0.0.1:3100");
        assert_eq!(judged("127.0.0.1", Method::POST, false, &[HERE, own, ("sec-fetch-site", "same-origin")]), Ok(()));
        let (host, own) = (("host", "localhost:3100"), ("origin", "http://localhost:3100"));
        assert_eq!(judged("::ffff:127.0.0.1", Method::GET, false, &[host, own, ("upgrade", "websocket")]), Ok(()));
    }

    #[test]
    fn other_machines_and_other_names_are_not() {
        assert_eq!(judged("192.0.2.7", Method::GET, true, &[HERE]), Err(Refusal::Peer));
        for host in ["evil.example:3100", "127.0.0.1", "127.0.0.1:3101", "127.0.0.1:3100.evil.example", ""] {
            assert_eq!(judged("127.0.0.1", Method::GET, true, &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(judged("127.0.0.1", Method::GET, true, &[]), Err(Refusal::Host));
    }

    #[test]
    fn other_sites_may_link_to_the_page_and_nothing_else() {
        let cross = ("sec-fetch-site", "cross-site");
        let document = ("sec-fetch-dest", "document");
        assert_eq!(judged("127.0.0.1", Method::GET, true, &[HERE, cross, document]), Ok(()));
        let refused = [
            // The previewed project's page is of the same site, on another port.
            judged("127.0.0.1", Method::GET, false, &[HERE, ("sec-fetch-site", "same-site")]),
            judged("127.0.0.1", Method::GET, false, &[HERE, cross, document]),
            judged("127.0.0.1", Method::GET, true, &[HERE, cross, ("sec-fetch-dest", "iframe")]),
            judged("127.0.0.1", Method::POST, true, &[HERE, cross, document]),
            judged("127.0.0.1", Method::POST, false, &[HERE]),
            judged("127.0.0.1", Method::POST, false, &[HERE, ("origin", "null")]),
            judged("127.0.0.1", Method::POST, false, &[HERE, ("origin", "http://localhost:3100")]),
            judged("127.0.0.1", Method::GET, false, &[HERE, ("upgrade", "websocket")]),
            judged("127.0.0.1", Method::GET, false, &[HERE, ("origin", "http://localhost:3001")]),
            judged("127.0.0.1", Method::OPTIONS, false, &[HERE, ("origin", "https://evil.example")]),
        ];
        for (index, judgement) in refused.into_iter().enumerate() {
            assert_eq!(judgement, Err(Refusal::Origin), "case {index}");
        }
    }

    #[test]
    fn what_others_of_this_machine_may_not_know_needs_the_key() {
        let home = tempfile::tempdir().unwrap();
        let cache = ("XDG_CACHE_HOME".to_owned(), home.path().display().to_string());
        let key = Key::of_user(&[cache].into());
        let digits = key.address("").trim_start_matches("#key=").to_owned();
        let guard = Guard { port: PORT, key };
        let asked = |uri: &str, given: Option<&str>| {
            let given = given.map(|given| ("x-console-key".parse().unwrap(), HeaderValue::from_str(given).unwrap()));
            guard.asks_for_key(&uri.parse().unwrap(), &given.into_iter().collect())
        };
        let in_query = format!("/console/feed?key={digits}");
        for private in ["/console/session", "/console/feed", "/console/dev-server/kill", "/_local/faults"] {
            assert_eq!(asked(private, None), Err(Refusal::Key), "{private}");
            assert_eq!(asked(private, Some("0123456789abcdef0123456789abcdef")), Err(Refusal::Key), "{private}");
            assert_eq!(asked(private, Some(&digits)), Ok(()), "{private}");
        }
        assert_eq!(asked(&in_query, None), Ok(()));
        // Where addresses may be written down, it is not taken from one.
        assert_eq!(asked(&in_query.replace("feed", "session"), None), Err(Refusal::Key));
        for open in ["/", "/assets/console.js", "/console/proof", "/rest/v1/rpc/project_head", "/realtime/v1/websocket"]
        {
            assert_eq!(asked(open, None), Ok(()), "{open}");
        }
    }
}
