//! `/_local/faults`: the switchboard for tests in another process.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::faults::{Cut, FaultSettings, Faults};
use crate::http::server::App;

/// The switchboard's place.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/_local/faults", get(show).post(change).layer(from_fn(own_page_or_none)))
}

/// Not for pages of other sites: neither from their own origin, nor under a name of theirs that leads here.
async fn own_page_or_none(request: Request, next: Next) -> Response {
    if is_from_elsewhere(request.headers()) {
        return (StatusCode::FORBIDDEN, "not for pages of other sites\n").into_response();
    }
    next.run(request).await
}

fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let other_origin = text(header::ORIGIN).is_some_and(|origin| origin != format!("http://{host}"));
    other_origin || !(is_address || name == "localhost")
}

/// What is switched on.
async fn show(State(app): State<Arc<App>>) -> Json<FaultSettings> {
    Json(app.faults.settings())
}

/// Changes the faults that the body names, and answers with all. Besides the settings it takes `clear: true` (first of
/// all), `seed`, `cut` (`"abruptly"`, `"reload"` or `{"code": 1012}`) and `deafen_joined: true`.
async fn change(State(app): State<Arc<App>>, Json(body): Json<Map<String, Value>>) -> Response {
    match apply(&app.faults, body) {
        Ok(()) => Json(app.faults.settings()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"message": error.to_string()}))).into_response(),
    }
}

fn apply(faults: &Faults, mut body: Map<String, Value>) -> Result<(), serde_json::Error> {
    let clear = body.remove("clear").is_some_and(|value| value == true);
    let deafen = body.remove("deafen_joined").is_some_and(|value| value == true);
    let cut = body.remove("cut").map(serde_json::from_value::<Cut>).transpose()?;
    let seed = body.remove("seed").map(serde_json::from_value::<u64>).transpose()?;
    let before = if clear { FaultSettings::default() } else { faults.settings() };
    let mut settings = serde_json::to_value(before)?;
    for (name, value) in body {
        settings[name] = value;
    }
    faults.set(serde_json::from_value(settings)?);
    seed.into_iter().for_each(|seed| faults.seed(seed));
    cut.into_iter().for_each(|cut| faults.cut(cut));
    if deafen {
        faults.deafen_joined();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_by_their_origin_and_by_the_name_they_use() {
        let elsewhere = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            is_from_elsewhere(&headers)
        };
        for host in ["127.0.0.1:54321", "localhost:54321", "[::1]:54321", "192.0.2.7:1"] {
            assert!(!elsewhere(host, None) && !elsewhere(host, Some(&format!("http://{host}"))), "{host}");
            assert!(elsewhere(host, Some("https://evil.example")) && elsewhere(host, Some("null")), "{host}");
            assert!(elsewhere(host, Some("http://localhost:3001")), "{host}");
        }
        assert!(elsewhere("evil.example:54321", None) && elsewhere("evil.example", None) && elsewhere("", None));
        assert!(elsewhere("127.0.0.1.evil.example:1", Some("http://127.0.0.1.evil.example:1")));
    }
}
