use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("../../../web/dist/index.html");

/// The built page's files by their names: `npm run build` in `web/` makes them.
const ASSETS: [(&str, &str, &[u8]); 3] = [
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("../../../web/dist/assets/console.js")),
    ("console.css", "text/css; charset=utf-8", include_bytes!("../../../web/dist/assets/console.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../../web/dist/assets/icon.svg")),
];

pub async fn index() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], INDEX).into_response()
}

pub async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, _, _)| *known == name) {
        Some((_, kind, bytes)) => ([(header::CONTENT_TYPE, *kind)], *bytes).into_response(),
        None => (StatusCode::NOT_FOUND, "the console has no such file\n").into_response(),
    }
}
