//! Requests of other host names are refused: a page whose name was rebound to this machine's address (DNS rebinding)
//! must not read what is open to loopback.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use listener::Hosts;

use super::ServerState;

/// Passes requests on whose host is an address, `localhost` or a configured name, or that have the token. The health
/// check is open under any name: its answer tells nothing, and load balancers use names of their own.
pub(super) async fn check_host(State(server): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    let open = request.uri().path() == "/healthz";
    if open || names_are_allowed(&server.hosts, request.uri(), request.headers()) || server.has_token(request.headers())
    {
        return next.run(request).await;
    }
    let text = "this Host is not allowed: use an address or localhost, or add the name to STATUS_HOSTS\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// There is exactly one `Host`, and it and the target's own host, where it has one, are allowed.
fn names_are_allowed(hosts: &Hosts, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    let in_target = uri.authority().map(|authority| authority.as_str());
    let allowed = |host: &str| is_local(host) || hosts.allows(host);
    host.to_str().is_ok_and(allowed) && in_target.is_none_or(allowed)
}

/// An address, which no name resolves to in the browser, or a name of the loopback.
fn is_local(host: &str) -> bool {
    let is_address = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    is_address(host) || is_address(without_port) || Hosts::loopback().allows(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(hosts: &Hosts, target: &str, given: &[&str]) -> bool {
        let headers = given.iter().map(|host| (header::HOST, host.parse().expect("a value"))).collect();
        names_are_allowed(hosts, &target.parse().expect("a target"), &headers)
    }

    #[test]
    fn only_addresses_and_known_names_are_allowed() {
        let hosts = Hosts::parse("agent.internal").expect("a list");
        for host in ["127.0.0.1:9464", "[::1]:9464", "10.0.0.7", "localhost:1", "localhost", "agent.internal:9464"] {
            assert!(allowed(&hosts, "/logs", &[host]), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:9464", "agent.internal.evil", "1.2.3", "a:b:c"] {
            assert!(!allowed(&hosts, "/logs", &[host]), "{host}");
        }
        assert!(!allowed(&hosts, "/logs", &[]));
        assert!(!allowed(&hosts, "/logs", &["localhost", "localhost"]));
        assert!(!allowed(&hosts, "http://evil.example/logs", &["localhost"]));
        assert!(allowed(&hosts, "http://localhost/logs", &["localhost"]));
    }
}
