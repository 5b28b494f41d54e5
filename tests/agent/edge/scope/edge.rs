//! The Edge Functions: sessions and snapshots of B, and A's own.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Table, refused};
use crate::edge::world::{Answer, Project, World, agent, now};

/// What is asked: of B by each caller, of A by its own.
type Asked<'a> = (&'a str, Method, (String, Value), Option<&'a str>, (String, Value));

/// `kind`: whose functions they are.
pub async fn ask(world: &World, callers: &[Caller], kind: &str, table: &mut Table) {
    let (a, b) = (&world.a, &world.b);
    let agent_of_a = callers[0].token.as_deref();
    let owner = Some(a.owner.as_str());
    let slept = world.sign(&agent(&a.id, &a.session, now() - 23 * 3600));
    let (sessions, renew) = ("/preview-session", "/preview-session/renew");
    let (build, sweep) = ("/build-project-snapshot", "/preview-session/sweep");
    let open = |project: &Project| (sessions.to_owned(), json!({"project_id": project.id}));
    let its = |project: &Project| (format!("{sessions}/{}", project.session), json!(null));
    let renewed = |project: &Project| (renew.to_owned(), wish(project));
    let built = |project: &Project| (build.to_owned(), json!({"project_id": project.id}));
    let swept = (sweep.to_owned(), json!({}));
    // In this order: A's own session is ended last.
    let lines: [Asked<'_>; 7] = [
        ("open a session", Method::POST, open(b), owner, open(a)),
        ("look at a session", Method::GET, its(b), owner, its(a)),
        ("renew", Method::POST, renewed(b), agent_of_a, renewed(a)),
        ("renew, expired 23 h ago", Method::POST, renewed(b), Some(&slept), renewed(a)),
        ("build a snapshot", Method::POST, built(b), Some(&world.service), built(a)),
        ("sweep", Method::POST, swept.clone(), Some(&world.service), swept),
        ("end a session", Method::DELETE, its(b), owner, its(a)),
    ];
    for (what, method, (path, body), own, (own_path, own_body)) in lines {
        // A backend of a laptop has no machines to sweep.
        if what == "sweep" && kind == "local function" {
            continue;
        }
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(b.place.edge(method.clone(), &path, caller.token.as_deref(), body.clone()).await);
        }
        let own = a.place.edge(method, &own_path, own, own_body).await;
        table.line(&format!("{kind}: {what}"), answers, Some(own), refused);
    }
    // Of B itself, and over: valid for an hour more, and renewed no more.
    let spare = format!("{sessions}/{}", b.spare);
    assert_eq!(b.place.edge(Method::DELETE, &spare, Some(&b.owner), json!(null)).await.status, 200);
    let token = world.sign(&agent(&b.id, &b.spare, now() + 3600));
    let mut of_the_ended = wish(b);
    of_the_ended["session_id"] = json!(b.spare);
    let renewed: Answer = b.place.edge(Method::POST, "/preview-session/renew", Some(&token), of_the_ended).await;
    println!("B's agent whose session was ended renews: {} {}", renewed.status, renewed.body);
    assert_eq!(renewed.status, 410);
}

fn wish(project: &Project) -> Value {
    json!({"session_id": project.session, "project_id": project.id, "want": ["token", "snapshot"]})
}
