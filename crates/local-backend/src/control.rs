//! `/_local/faults`: the switchboard for tests in another process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::faults::{Cut, FaultSettings, Faults};
use crate::server::App;

/// What is switched on.
pub async fn show(State(app): State<Arc<App>>) -> Json<FaultSettings> {
    Json(app.faults.settings())
}

/// Changes the faults that the body names, and answers with all. Besides the settings it takes `clear: true` (first of
/// all), `seed`, `cut` (`"abruptly"`, `"reload"` or `{"code": 1012}`) and `deafen_joined: true`.
pub async fn change(State(app): State<Arc<App>>, Json(body): Json<Map<String, Value>>) -> Response {
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
