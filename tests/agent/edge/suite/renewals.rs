//! Renewal, the contract's section 6.

use jiff::Timestamp;
use local_backend::Ownership;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Record, Target};
use crate::edge::world::{agent, claims, now};

const PLACE: &str = "/preview-session/renew";
const TOKEN: &str = "200 realtime_token token_expires_at";
const SNAPSHOT: &str = "200 snapshot_expires_at snapshot_url";
const BOTH: &str = "200 realtime_token snapshot_expires_at snapshot_url token_expires_at";

pub fn wish(target: &Target<'_>, session: &str, want: &[&str]) -> Value {
    json!({"session_id": session, "project_id": target.project, "want": want})
}

pub async fn ask(record: &mut Record<'_>, session: &str) {
    let target = record.target;
    let live = target.agent(session, now() + 60);
    let renew = async |token: &str, body: Value| target.edge(Method::POST, PLACE, Some(token), body).await;

    let answer = renew(&live, wish(target, session, &["token"])).await;
    record.expect("a token", &answer, TOKEN);
    let token = answer.body["realtime_token"].as_str().unwrap_or_default().to_owned();
    let said = claims(&token);
    let names: Vec<&str> = said.as_object().map(|said| said.keys().map(String::as_str).collect()).unwrap_or_default();
    record.hold("its claims", names == ["exp", "iat", "project_id", "role", "session_id"], &said.to_string());
    let scope = [&said["role"], &said["project_id"], &said["session_id"]];
    record.hold(
        "its scope",
        scope == [&json!("preview_agent"), &json!(target.project), &json!(session)],
        &said.to_string(),
    );
    let expires = seconds(&answer.body["token_expires_at"]);
    let right = said["exp"].as_i64().is_some_and(|exp| (exp - expires).abs() <= 2);
    record.hold("when it ends", right && expires > now() as i64, &format!("{} {said}", answer.body));
    let head = target.place.rpc(Some(&token), "project_head", json!({"project_uuid": target.project})).await;
    record.hold("it reads", head.status == 200, &format!("{head:?}"));

    let answer = renew(&token, wish(target, session, &["snapshot"])).await;
    record.expect("a snapshot, by the new token", &answer, SNAPSHOT);
    let url = answer.body["snapshot_url"].as_str().unwrap_or_default().to_owned();
    let signed = claims(url.split_once("token=").map(|(_, token)| token).unwrap_or_default());
    let expires = seconds(&answer.body["snapshot_expires_at"]);
    let right = signed["exp"].as_i64().is_some_and(|exp| (exp - expires).abs() <= 2);
    record.hold("when its URL ends", right && expires > now() as i64, &format!("{} {signed}", answer.body));
    let fetched = target.place.http.get(&url).send().await.expect("an answer");
    record.hold("it is there", fetched.status() == 200, &url);
    let both = renew(&live, wish(target, session, &["token", "snapshot"])).await;
    record.expect("both", &both, BOTH);
    let object = |answer: &Value| {
        answer["snapshot_url"].as_str().unwrap_or_default().split('?').next().unwrap_or_default().to_owned()
    };
    record.hold("the same snapshot", object(&both.body) == object(&answer.body), &both.body.to_string());
    let mut rebuild = wish(target, session, &["snapshot"]);
    rebuild["rebuild"] = json!(true);
    let rebuilt = renew(&live, rebuild).await;
    record.expect("rebuilt", &rebuilt, SNAPSHOT);
    record.hold("under a new id", object(&rebuilt.body) != object(&answer.body), &rebuilt.body.to_string());

    for (hours, expected) in [(1, TOKEN), (23, TOKEN), (25, "401 unauthenticated"), (1000, "401 unauthenticated")] {
        let slept = target.agent(session, now() - hours * 3600);
        let answer = renew(&slept, wish(target, session, &["token"])).await;
        record.expect(&format!("expired {hours} h ago"), &answer, expected);
    }
    refusals(record, session, &live).await;

    target.take(Ownership::Lost).await;
    record.expect("the owner lost the project", &renew(&live, wish(target, session, &["token"])).await, "403 no_right");
    target.take(Ownership::Kept).await;
    record.expect("and has it again", &renew(&live, wish(target, session, &["token"])).await, TOKEN);
}

async fn refusals(record: &mut Record<'_>, session: &str, live: &str) {
    let target = record.target;
    let good = wish(target, session, &["token"]);
    let renew = async |token: Option<&str>, body: &Value| target.edge(Method::POST, PLACE, token, body.clone()).await;
    record.expect("no token", &renew(None, &good).await, "401 unauthenticated");
    record.expect("nonsense", &renew(Some("nonsense"), &good).await, "401 unauthenticated");
    record.expect("a person's", &renew(Some(&target.person), &good).await, "401 unauthenticated");
    record.expect("the service's", &renew(Some(&target.service), &good).await, "401 unauthenticated");
    let (signed, tag) = live.rsplit_once('.').expect("a JWT");
    let forged = format!("{signed}.{}{}", if tag.starts_with('A') { 'B' } else { 'A' }, &tag[1..]);
    record.expect("forged", &renew(Some(&forged), &good).await, "401 unauthenticated");
    for early in [60, 23 * 3600] {
        let mut claims = agent(&target.project, session, now() + 60);
        claims["nbf"] = json!(now() + early);
        let token = target.sign(&claims);
        record.expect(&format!("valid only in {early} s"), &renew(Some(&token), &good).await, "401 unauthenticated");
    }
    let endless = target.sign(&json!({"role": "preview_agent", "project_id": target.project, "session_id": session}));
    record.expect("without an end", &renew(Some(&endless), &good).await, "401 unauthenticated");

    let other = "99999999-9999-4999-8999-999999999999";
    for name in ["session_id", "project_id"] {
        let mut foreign = good.clone();
        foreign[name] = json!(other);
        record.expect(&format!("another {name}"), &renew(Some(live), &foreign).await, "403 foreign_session");
        foreign.as_object_mut().and_then(|wish| wish.remove(name));
        record.expect(&format!("no {name}"), &renew(Some(live), &foreign).await, "403 foreign_session");
    }
    let of_other = target.sign(&agent(other, session, now() + 60));
    record.expect("a token of another project", &renew(Some(&of_other), &good).await, "403 foreign_session");
    let mut theirs = good.clone();
    theirs["project_id"] = json!(other);
    record.expect("this session in another project", &renew(Some(&of_other), &theirs).await, "410 ended");
    let unknown = target.agent(other, now() + 60);
    record.expect(
        "a session that never was",
        &renew(Some(&unknown), &wish(target, other, &["token"])).await,
        "410 ended",
    );

    let changed = |name: &str, value: Value| {
        let mut wish = good.clone();
        wish[name] = value;
        wish
    };
    for (what, body) in [
        ("want nothing", changed("want", json!([]))),
        ("want what is not there", changed("want", json!(["token", "key"]))),
        ("want no list", changed("want", json!("token"))),
        ("want null", changed("want", json!(null))),
        ("`rebuild` a text", changed("rebuild", json!("yes"))),
        ("a list", json!([])),
        ("an empty body", json!({})),
    ] {
        record.expect(what, &renew(Some(live), &body).await, "400 invalid_request");
    }
    record.expect("no JSON", &target.raw(PLACE, live, "{\"want\"").await, "400 invalid_request");
    let large = format!("{{\"want\": \"{}\"}}", "x".repeat(70_000));
    record.expect("a large body", &target.raw(PLACE, live, &large).await, "413 too_large");
}

/// Unix seconds of an RFC 3339 time.
fn seconds(time: &Value) -> i64 {
    time.as_str().and_then(|time| time.parse::<Timestamp>().ok()).map_or(0, Timestamp::as_second)
}
