//! `/_local/faults`: the faults, for tests in another process.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::state::Api;
use crate::faults::{Cut, FaultSettings, Faults};

/// The route of the faults.
pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/_local/faults", get(show).post(change).layer(from_fn(refuse_other_sites)))
}

/// Refuses pages of other sites: by their origin, and by a host name that resolves to this machine.
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_other_site(request.headers()) {
        return (StatusCode::FORBIDDEN, "pages of other sites may not use this\n").into_response();
    }
    next.run(request).await
}

fn is_other_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let other_origin = text(header::ORIGIN).is_some_and(|origin| origin != format!("http://{host}"));
    other_origin || !(is_address || name == "localhost")
}

/// The current settings.
async fn show(State(api): State<Arc<Api>>) -> Json<FaultSettings> {
    Json(api.faults.settings())
}

/// Changes the settings that the body names, and answers with all settings. It also accepts `clear: true` (which applies
/// first), `seed`, `cut` (`"abruptly"`, `"reload"`, `"crash_channels"` or `{"code": 1012}`) and `stall_joined: true`.
async fn change(State(api): State<Arc<Api>>, Json(body): Json<Map<String, Value>>) -> Response {
    match apply(&api.faults, body) {
        Ok(()) => Json(api.faults.settings()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"message": error.to_string()}))).into_response(),
    }
}

fn apply(faults: &Faults, mut body: Map<String, Value>) -> Result<(), serde_json::Error> {
    let clear = body.remove("clear").is_some_and(|value| value == true);
    let stall = body.remove("stall_joined").is_some_and(|value| value == true);
    let cut = body.remove("cut").map(serde_json::from_value::<Cut>).transpose()?;
    let seed = body.remove("seed").map(serde_json::from_value::<u64>).transpose()?;
    let before = if clear { FaultSettings::default() } else { faults.settings() };
    let mut settings: Map<String, Value> = serde_json::from_value(serde_json::to_value(before)?)?;
    settings.extend(body);
    faults.set(serde_json::from_value(settings.into())?);
    seed.into_iter().for_each(|seed| faults.seed(seed));
    cut.into_iter().for_each(|cut| faults.cut(cut));
    if stall {
        faults.stall_joined();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_detected_by_origin_and_host() {
        let other_site = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            is_other_site(&headers)
        };
        for host in ["127.0.0.1:54321", "localhost:54321", "[::1]:54321", "192.0.2.7:1"] {
            assert!(!other_site(host, None) && !other_site(host, Some(&format!("http://{host}"))), "{host}");
            assert!(other_site(host, Some("https://evil.example")) && other_site(host, Some("null")), "{host}");
            assert!(other_site(host, Some("http://localhost:3001")), "{host}");
        }
        assert!(other_site("evil.example:54321", None) && other_site("evil.example", None) && other_site("", None));
        assert!(other_site("127.0.0.1.evil.example:1", Some("http://127.0.0.1.evil.example:1")));
    }
}
