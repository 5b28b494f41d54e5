//! One suite of sessions, renewal and snapshots (contract, sections 2 and 6), asked of the Edge Functions and of the local
//! backend's own places over a PostgreSQL and in memory. Every answer's status and code, or the fields of a success, is
//! said once, and is the same for all three.

mod renewals;
mod sessions;
mod snapshots;

use std::fmt::Write as _;

use local_backend::{Backend, Ownership};
use reqwest::Method;
use serde_json::{Value, json};

use crate::edge::world::{Answer, FAR, Place, World, agent, backend, person};

/// One place that answers.
pub struct Target<'a> {
    name: &'static str,
    place: Place,
    project: String,
    /// Somebody who may write the project, and could lose it.
    person: String,
    service: String,
    backend: &'a Backend,
    /// Where there is a table of members, the database and the person's id.
    members: Option<(&'a World, String)>,
}

/// What was asked so far, and what was answered otherwise than it should be.
pub struct Record<'a> {
    target: &'a Target<'a>,
    asked: usize,
    wrong: String,
}

#[tokio::test]
async fn the_functions_and_the_local_backend_answer_alike() {
    let world = World::start(&[("PREVIEW_SNAPSHOT_URL_SECONDS", "3600")]).await;
    let memory = backend("cccccccc-0000-4000-8000-00000000000c", "of-c", None).await;
    let (a, b) = (&world.a, &world.b);
    let member = |token: &str| crate::edge::world::claims(token)["sub"].as_str().expect("a sub").to_owned();
    let targets = [
        Target {
            name: "Edge Functions",
            place: a.place.clone(),
            project: a.id.clone(),
            person: a.editor.clone(),
            service: world.service.clone(),
            backend: &a.backend,
            members: Some((&world, member(&a.editor))),
        },
        Target {
            name: "local backend over PostgreSQL",
            place: Place::local(&b.backend),
            project: b.id.clone(),
            person: b.editor.clone(),
            service: world.service.clone(),
            backend: &b.backend,
            members: Some((&world, member(&b.editor))),
        },
        Target {
            name: "local backend in memory",
            place: Place::local(&memory),
            project: memory.agent_settings().project_id,
            person: memory.editor_token(),
            service: memory.sign(&json!({"role": "service_role", "exp": FAR})),
            backend: &memory,
            members: None,
        },
    ];
    let mut wrong = String::new();
    for target in &targets {
        let mut record = Record { target, asked: 0, wrong: String::new() };
        snapshots::ask(&mut record).await;
        let session = sessions::open_and_look(&mut record).await;
        sessions::open_too_many_at_once(&mut record).await;
        renewals::ask(&mut record, &session).await;
        sessions::end(&mut record, &session).await;
        println!("{}: {} answers", target.name, record.asked);
        wrong += &record.wrong;
    }
    assert!(wrong.is_empty(), "{wrong}");
}

impl Target<'_> {
    async fn edge(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.place.edge(method, path, token, body).await
    }

    /// A body of any kind.
    async fn raw(&self, path: &str, token: &str, body: &str) -> Answer {
        let url = format!("{}{path}", self.place.functions);
        self.place.send(Method::POST, &url, Some(token), &[], body.into()).await
    }

    fn sign(&self, claims: &Value) -> String {
        self.backend.sign(claims)
    }

    fn agent(&self, session: &str, exp: u64) -> String {
        self.sign(&agent(&self.project, session, exp))
    }

    fn stranger(&self) -> String {
        self.sign(&person("99999999-9999-4999-8999-999999999999"))
    }

    /// Takes the project from the person, or gives it back.
    async fn take(&self, ownership: Ownership) {
        let Some((world, member)) = &self.members else { return self.backend.set_ownership(ownership) };
        let project = &self.project;
        let statement = match ownership {
            Ownership::Lost => {
                format!("delete from public.project_members where project_id = '{project}' and user_id = '{member}'")
            }
            Ownership::Kept => format!(
                "insert into public.project_members (project_id, user_id, role) values ('{project}', '{member}', 'editor')"
            ),
        };
        world.sql(&statement).await;
    }
}

impl Record<'_> {
    /// Notes the answer where it is not `expected`: the status, and the code of a refusal or the fields of a success.
    pub fn expect(&mut self, what: &str, answer: &Answer, expected: &str) {
        let code = answer.body["code"].as_str().map(str::to_owned);
        let fields = || answer.body.as_object().map(|body| body.keys().cloned().collect::<Vec<_>>().join(" "));
        let said = format!("{} {}", answer.status, code.or_else(fields).unwrap_or_default());
        self.hold(what, said == expected, &format!("{said}, not {expected}: {}", answer.body));
    }

    pub fn hold(&mut self, what: &str, holds: bool, otherwise: &str) {
        self.asked += 1;
        if !holds {
            writeln!(self.wrong, "{}: {what}: {otherwise}", self.target.name).expect("text takes text");
        }
    }
}
