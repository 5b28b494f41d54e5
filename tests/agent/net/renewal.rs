use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use preview_agent::sync::database::{Renewer, SnapshotUrl};
use preview_agent::sync::net::Net;
use preview_agent::sync::token::TokenCell;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sync_core::RenewalError;

use crate::net::database::{PROJECT, SECRET, Seen, serve, token};

fn jwt(project: &str) -> String {
    let claims = json!({"role": "preview_agent", "project_id": project, "iat": 100, "exp": 160});
    format!("e30.{}.n3w", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string()))
}

async fn renewer(status: u16, body: String) -> (Renewer, TokenCell, Seen) {
    let answer = move || Response::builder().status(status).body(Body::from(body.clone())).unwrap();
    renewer_of(answer).await
}

async fn renewer_of(answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> (Renewer, TokenCell, Seen) {
    let (url, seen) = serve(answer).await;
    let cell = TokenCell::new(token(SECRET));
    let http = Net::new(None).unwrap().api_client().unwrap();
    let renewer = Renewer::new(http, url.parse().unwrap(), cell.clone(), PROJECT.into(), "session-1".into());
    (renewer, cell, seen)
}

async fn refused(status: u16, body: Value) -> RenewalError {
    let (renewer, cell, _) = renewer(status, body.to_string()).await;
    let error = renewer.renew_token().await.unwrap_err();
    assert_eq!(cell.current().expose(), SECRET, "a refused renewal changes nothing");
    let told = format!("{error:?} {renewer:?}");
    assert!(!told.contains(SECRET) && !told.contains("n3w") && !told.contains("s1gned"), "a secret in {told}");
    error
}

#[tokio::test]
async fn brings_a_token_and_a_url() {
    let body = json!({"realtime_token": jwt(PROJECT), "snapshot_url": "https://x/y?token=s1gned"}).to_string();
    let (renewer, cell, seen) = renewer(200, body).await;
    let renewed = renewer.renew_snapshot(SnapshotUrl::Rebuilt).await.unwrap();
    assert_eq!(renewed.token.as_ref().unwrap().lifetime(), Some(std::time::Duration::from_secs(60)));
    assert!(!format!("{renewed:?}").contains("s1gned"));
    assert_eq!(renewed.snapshot_url.unwrap().expose_secret(), "https://x/y?token=s1gned");
    assert_eq!(cell.current().expose(), jwt(PROJECT));
    renewer.renew_snapshot(SnapshotUrl::Newest).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((&*seen[0].0, &*seen[0].2), ("POST /base", &*format!("Bearer {SECRET}")));
    let body = json!({"session_id": "session-1", "project_id": PROJECT, "want": ["snapshot"], "rebuild": true});
    assert_eq!(seen[0].3, body);
    assert_eq!(seen[1].2, format!("Bearer {}", jwt(PROJECT)));
    assert_eq!(seen[1].3, json!({"session_id": "session-1", "project_id": PROJECT, "want": ["snapshot"]}));
}

#[tokio::test]
async fn two_at_once_ask_once() {
    let (renewer, _, seen) = renewer(200, json!({"realtime_token": jwt(PROJECT)}).to_string()).await;
    let renewer = Arc::new(renewer);
    let (one, two) = tokio::join!(renewer.renew_token(), renewer.renew_token());
    assert_eq!(one.unwrap().token.unwrap().expose(), two.unwrap().token.unwrap().expose());
    assert_eq!(seen.lock().unwrap().len(), 1);
    renewer.renew_token().await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2, "a later renewal asks again");
}

#[tokio::test]
async fn a_final_refusal_is_asked_for_once() {
    for status in [401, 403, 410] {
        let (renewer, _, seen) = renewer(status, format!("no right for {SECRET}")).await;
        for _ in 0..2 {
            let error = renewer.renew_token().await.unwrap_err();
            let RenewalError::Final(why) = &error else { panic!("{status}: {error:?}") };
            assert!(why.contains(&status.to_string()) && !why.contains(SECRET), "{why}");
        }
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn everything_else_may_be_tried_again() {
    let other = "22222222-2222-4222-8222-222222222222";
    let url = "https://x/y?token=s1gned";
    for (status, body, says) in [
        (500, json!({"message": format!("oh {SECRET}")}), "HTTP 500"),
        (429, json!({}), "HTTP 429"),
        (302, json!({}), "HTTP 302"),
        (200, json!([]), "JSON"),
        (200, json!({"realtime_token": 7}), "JSON"),
        (200, json!({"snapshot_url": url}), "no realtime_token"),
        (200, json!({"realtime_token": jwt(other), "snapshot_url": url}), "for project"),
        (200, json!({"realtime_token": "n3w", "snapshot_url": url}), "refused"),
        (200, json!({"realtime_token": "x".repeat(100_000), "snapshot_url": url}), "more than"),
    ] {
        let error = refused(status, body).await;
        assert!(matches!(&error, RenewalError::Retry(why) if why.contains(says)), "{says}: {error:?}");
    }
}

#[tokio::test]
async fn a_token_is_kept_whatever_is_wrong_with_the_url_beside_it() {
    for (body, says) in [
        (json!({"realtime_token": jwt(PROJECT)}), "no snapshot_url"),
        (json!({"realtime_token": jwt(PROJECT), "snapshot_url": "file:///etc/passwd?s1gned"}), "not an http://"),
    ] {
        let (renewer, cell, _) = renewer(200, body.to_string()).await;
        let error = renewer.renew_snapshot(SnapshotUrl::Newest).await.unwrap_err();
        assert!(matches!(&error, RenewalError::Retry(why) if why.contains(says)), "{says}: {error:?}");
        assert!(!format!("{error:?}").contains("s1gned"));
        assert_eq!(cell.current().expose(), jwt(PROJECT));
    }
}

#[tokio::test]
async fn a_requested_pause_is_kept() {
    for retry_after in ["60", "Fri, 06 Nov 2094 08:49:37 GMT"] {
        let answer = move || {
            let answer = Response::builder().status(503).header("retry-after", retry_after);
            answer.body(Body::empty()).unwrap()
        };
        let (renewer, _, seen) = renewer_of(answer).await;
        assert!(matches!(renewer.renew_token().await, Err(RenewalError::Retry(_))));
        let error = renewer.renew_token().await.unwrap_err();
        assert!(matches!(&error, RenewalError::Retry(reason) if reason.contains("wait")), "{error:?}");
        assert_eq!(seen.lock().unwrap().len(), 1, "asked again before {retry_after}");
    }
}
