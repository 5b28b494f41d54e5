//! Opening, looking, ending.

use reqwest::Method;
use serde_json::{Value, json};

use super::Record;
use super::renewals::wish;
use crate::edge::world::now;

const SESSION: &str =
    "200 additional created_at ended_at machine_id preview_url project_id provider reason session_id state";
const PLACE: &str = "/preview-session";

/// The session that the person has then.
pub async fn open_and_look(record: &mut Record<'_>) -> String {
    let target = record.target;
    let person = Some(target.person.as_str());
    let wish = json!({"project_id": target.project});
    let open = async |token: Option<&str>, body: &Value| target.edge(Method::POST, PLACE, token, body.clone()).await;
    record.expect("open without a token", &open(None, &wish).await, "401 unauthenticated");
    record.expect("open with nonsense", &open(Some("nonsense"), &wish).await, "401 unauthenticated");
    let agents = target.agent("x", now() + 60);
    record.expect("open as an agent", &open(Some(&agents), &wish).await, "401 unauthenticated");
    let stranger = target.stranger();
    record.expect("open somebody else's", &open(Some(&stranger), &wish).await, "403 42501");
    let unknown = json!({"project_id": "99999999-9999-4999-8999-999999999999"});
    record.expect("open what is not there", &open(person, &unknown).await, "403 42501");
    for (what, body) in [
        ("no project", json!({})),
        ("no UUID", json!({"project_id": "x"})),
        ("a number for a project", json!({"project_id": 1})),
        ("`another` a number", json!({"project_id": target.project, "another": 1})),
        ("a list", json!([])),
    ] {
        record.expect(&format!("open with {what}"), &open(person, &body).await, "400 invalid_request");
    }
    record.expect("open without JSON", &target.raw(PLACE, &target.person, "{").await, "400 invalid_request");
    let large = format!("{{\"project_id\": \"{}\"}}", "x".repeat(70_000));
    record.expect("open with a large body", &target.raw(PLACE, &target.person, &large).await, "413 too_large");

    // Twice at once: one session, whoever of the two is the one to start its machine.
    let (first, second) = tokio::join!(open(person, &wish), open(person, &wish));
    let ids = [&first, &second].map(|answer| answer.body["session_id"].clone());
    let fine = |status: u16| matches!(status, 200 | 202);
    record.hold(
        "opened twice at once",
        ids[0] == ids[1] && ids[0].is_string(),
        &format!("{} {}", first.body, second.body),
    );
    record.hold("both are answered", fine(first.status) && fine(second.status), &format!("{first:?} {second:?}"));
    let again = open(person, &wish).await;
    record.expect("open again", &again, SESSION);
    record.hold("it is the same", again.body["session_id"] == ids[0], &again.body.to_string());
    record.hold("it runs", again.body["state"] == "running", &again.body.to_string());
    let another = open(person, &json!({"project_id": target.project, "another": true})).await;
    record.expect("open another", &another, SESSION);
    record.hold("it is another", another.body["session_id"] != ids[0], &another.body.to_string());
    let extra = another.body["session_id"].as_str().unwrap_or_default().to_owned();
    let place = format!("{PLACE}/{extra}");
    record.expect("end the other", &target.edge(Method::DELETE, &place, person, json!(null)).await, SESSION);

    let id = ids[0].as_str().unwrap_or_default().to_owned();
    let look = async |id: &str, token: Option<&str>| {
        target.edge(Method::GET, &format!("{PLACE}/{id}"), token, json!(null)).await
    };
    let looked = look(&id, person).await;
    record.expect("look", &looked, SESSION);
    record.hold("it is the project's", looked.body["project_id"] == target.project, &looked.body.to_string());
    record.expect("look at the ended", &look(&extra, person).await, SESSION);
    record.expect("look without a token", &look(&id, None).await, "401 unauthenticated");
    record.expect("look as its agent", &look(&id, Some(&target.agent(&id, now() + 60))).await, "401 unauthenticated");
    record.expect("look as a stranger", &look(&id, Some(&stranger)).await, "404 PT404");
    record.expect("look at nothing", &look("99999999-9999-4999-8999-999999999999", person).await, "404 PT404");
    record.expect("look at no UUID", &look("x", person).await, "404 not_found");
    record.expect("PUT", &target.edge(Method::PUT, PLACE, person, wish).await, "404 not_found");
    id
}

/// Eight calls at once, each for a further session: the person has at most five, with the one that is open already.
pub async fn open_too_many_at_once(record: &mut Record<'_>) {
    let target = record.target;
    let person = Some(target.person.as_str());
    let open = || target.edge(Method::POST, PLACE, person, json!({"project_id": target.project, "another": true}));
    let answers = futures_util::future::join_all((0..8).map(|_| open())).await;
    let opened: Vec<_> = answers.iter().filter_map(|answer| answer.body["session_id"].as_str()).collect();
    record.hold("four more were opened", opened.len() == 4, &format!("{answers:?}"));
    for refused in answers.iter().filter(|answer| answer.body["session_id"].is_null()) {
        record.expect("the sixth session", refused, "429 PT429");
    }
    for id in opened {
        let ended = target.edge(Method::DELETE, &format!("{PLACE}/{id}"), person, json!(null)).await;
        record.expect("end a further session", &ended, SESSION);
    }
}

pub async fn end(record: &mut Record<'_>, id: &str) {
    let target = record.target;
    let person = Some(target.person.as_str());
    let end =
        async |token: Option<&str>| target.edge(Method::DELETE, &format!("{PLACE}/{id}"), token, json!(null)).await;
    record.expect("end without a token", &end(None).await, "401 unauthenticated");
    record.expect("end as a stranger", &end(Some(&target.stranger())).await, "404 PT404");
    let agents = target.agent(id, now() + 60);
    record.expect("end as its agent", &end(Some(&agents)).await, "401 unauthenticated");
    for what in ["end", "end again"] {
        let ended = end(person).await;
        record.expect(what, &ended, SESSION);
        let over = ended.body["state"] == "ended" && ended.body["ended_at"].is_string();
        record.hold("it is over", over && ended.body["reason"] == "asked", &ended.body.to_string());
    }
    let renew = async |token: &str| {
        target.edge(Method::POST, "/preview-session/renew", Some(token), wish(target, id, &["token"])).await
    };
    record.expect("renew the ended", &renew(&agents).await, "410 ended");
    record.expect("renew the ended, long after", &renew(&target.agent(id, now() - 3600)).await, "410 ended");
    let reopened = target.edge(Method::POST, PLACE, person, json!({"project_id": target.project})).await;
    record.expect("open after the end", &reopened, SESSION);
    let new = reopened.body["session_id"].as_str().unwrap_or_default();
    record.hold("it is a new one", new != id, &reopened.body.to_string());
    record.expect(
        "end that",
        &target.edge(Method::DELETE, &format!("{PLACE}/{new}"), person, json!(null)).await,
        SESSION,
    );
}
