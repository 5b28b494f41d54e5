//! Tokens signed with ES256: agents' with an imported key, people's with the key of the project's auth, and no secret of
//! HS256 anywhere near the functions.

use local_backend::testing::{PostgresServer, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::edge::functions::Functions;
use crate::edge::socket::Socket;
use crate::edge::world::{FAR, Place, agent, backend_with, claims, now, person};

#[tokio::test]
async fn es256_from_opening_to_renewal() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let database = server.database().expect("a database");
    let (imported, auths) = (SigningKey::new("imported").expect("a key"), SigningKey::new("auth").expect("a key"));
    let jwks = vec![imported.public(), auths.public()];
    let project = "aaaaaaaa-0000-4000-8000-00000000000a";
    let backend = backend_with(project, "of-a", Some(&database), jwks).await;
    let service = backend.sign(&json!({"role": "service_role", "exp": FAR}));
    let functions = Functions::start(&[
        ("SUPABASE_URL", &backend.url()),
        ("SUPABASE_ANON_KEY", &backend.agent_settings().anon_key),
        ("SUPABASE_SERVICE_ROLE_KEY", &service),
        ("PREVIEW_JWT_KEY", &imported.private().to_string()),
        ("PREVIEW_JWT_SECRET", ""),
    ]);
    let place = Place::of(&backend, functions.url.clone());
    let owner = claims(&backend.editor_token())["sub"].as_str().expect("a sub").to_owned();
    let signed = |claims: &Value| auths.sign(claims).expect("signed");

    let editor = signed(&person(&owner));
    let open = async |token: &str| {
        place.edge(Method::POST, "/preview-session", Some(token), json!({"project_id": project})).await
    };
    let opened = open(&editor).await;
    assert_eq!(opened.status, 200, "{}", opened.body);
    let session = opened.body["session_id"].as_str().expect("an id");
    let refused = [
        ("HS256, of which they know no secret", backend.editor_token()),
        (
            "another's key under a known kid",
            SigningKey::new("auth").and_then(|key| key.sign(&person(&owner))).expect("signed"),
        ),
        (
            "a kid that nobody knows",
            SigningKey::new("other").and_then(|key| key.sign(&person(&owner))).expect("signed"),
        ),
        ("another audience", signed(&json!({"role": "authenticated", "aud": "other", "sub": owner, "exp": FAR}))),
        ("another role", signed(&json!({"role": "anon", "aud": "authenticated", "sub": owner, "exp": FAR}))),
    ];
    for (what, token) in refused {
        let answer = open(&token).await;
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthenticated")), "{what}: {}", answer.body);
    }

    let wish = json!({"session_id": session, "project_id": project, "want": ["token"]});
    let renew = async |token: &str| place.edge(Method::POST, "/preview-session/renew", Some(token), wish.clone()).await;
    let slept = imported.sign(&agent(project, session, now() - 3600)).expect("signed");
    let renewed = renew(&slept).await;
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    let token = renewed.body["realtime_token"].as_str().expect("a token");
    assert_eq!(header(token), json!({"alg": "ES256", "typ": "JWT", "kid": "imported"}));
    let hs256 = backend.sign(&agent(project, session, now() + 60));
    assert_eq!(renew(&hs256).await.status, 401, "HS256");
    let by_auth = signed(&agent(project, session, now() + 60));
    assert_eq!(renew(&by_auth).await.status, 401, "agent claims signed with the key of the project's auth");
    let at_backend =
        json!({"session_id": backend.agent_settings().session_id, "project_id": project, "want": ["token"]});
    let by_auth = signed(&agent(project, &backend.agent_settings().session_id, now() + 60));
    let answer = Place::of(&backend, format!("{}/functions/v1", backend.url()))
        .edge(Method::POST, "/preview-session/renew", Some(&by_auth), at_backend)
        .await;
    assert_eq!(answer.status, 401, "the same at the local backend's own endpoint: {}", answer.body);

    // It is what it claims to be: for the channel, for reads, and for objects.
    let reply = Socket::open(&place.url, &place.anon_key).await;
    let reply = { reply }.join(&format!("project:{project}"), Some(token), json!({"private": true})).await;
    assert_eq!(reply["status"], "ok", "{reply}");
    let head = place.rpc(Some(token), "project_head", json!({"project_uuid": project})).await;
    assert_eq!((head.status, &head.body["head_revision"]), (200, &json!(1)), "{}", head.body);
    let asset = backend.store().newest("logo.png").and_then(|row| row.content_hash).expect("an asset");
    let asset = format!("/storage/v1/object/authenticated/project-assets/{project}/{asset}");
    assert_eq!(place.ask(Method::GET, &asset, Some(token), json!(null)).await.status, 200);
    let other = json!({"project_uuid": "bbbbbbbb-0000-4000-8000-00000000000b"});
    assert_eq!(place.rpc(Some(token), "project_head", other).await.status, 403);
    let ended = place.edge(Method::DELETE, &format!("/preview-session/{session}"), Some(&editor), json!(null)).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
}

fn header(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').next().expect("a JWT");
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("a header")
}
