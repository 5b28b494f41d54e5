//! Every bucket: read, listed, signed, added to, written over, emptied.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Table, refused};
use crate::edge::world::{Answer, Project, World};

/// `snapshots`: the object's name of A's and of B's.
pub async fn ask(world: &World, callers: &[Caller], snapshots: &[String; 2], table: &mut Table) {
    let listed: Vec<String> = match world.database {
        Some(_) => {
            let listed = world.sql("select id from storage.buckets order by id").await;
            listed.into_iter().filter_map(|row| row.into_iter().next()?).collect()
        }
        None => ["project-assets", "project-snapshots"].map(str::to_owned).to_vec(),
    };
    for bucket in listed.iter().map(String::as_str) {
        match bucket {
            "project-assets" => {
                let (b, a) = (format!("{}/{}", world.b.id, world.b.asset), format!("{}/{}", world.a.id, world.a.asset));
                let own = callers[0].token.clone().expect("the agent's");
                of_bucket(
                    world,
                    callers,
                    table,
                    Bucket { bucket, of_b: b, of_a: a, reader: own, writer: &world.a.owner },
                )
                .await;
            }
            "project-snapshots" => {
                let [a, b] = snapshots.clone();
                let own = world.a.owner.clone();
                of_bucket(
                    world,
                    callers,
                    table,
                    Bucket { bucket, of_b: b, of_a: a, reader: own, writer: &world.service },
                )
                .await;
            }
            other => table.missing(format!("the bucket {other} has no lines here")),
        }
    }
}

struct Bucket<'a> {
    bucket: &'a str,
    of_b: String,
    of_a: String,
    /// Who of A reads it, and who adds to it.
    reader: String,
    writer: &'a str,
}

/// The name of the project's snapshot, made by the service.
pub async fn snapshot(world: &World, project: &Project) -> String {
    let built = project.place.edge(
        Method::POST,
        "/build-project-snapshot",
        Some(&world.service),
        json!({"project_id": project.id}),
    );
    let built = built.await;
    built.body["object"].as_str().unwrap_or_else(|| panic!("{} {}", built.status, built.body)).to_owned()
}

async fn of_bucket(world: &World, callers: &[Caller], table: &mut Table, one: Bucket<'_>) {
    let Bucket { bucket, of_b, of_a, reader, writer } = one;
    let place = |what: &str, name: &str| format!("/storage/v1/object{what}/{bucket}/{name}");
    let folder = |project: &Project| json!({"prefix": project.id, "limit": 100});
    let list = format!("/storage/v1/object/list/{bucket}");
    let fresh = |project: &Project, at: u8| format!("{}/{}", project.id, format!("{at:x}").repeat(64));
    let removal = format!("/storage/v1/object/{bucket}");
    let none = json!(null);
    let reading = Some(reader.as_str());
    let lines: Vec<(&str, Method, String, Value, Option<Answer>)> = vec![
        (
            "read",
            Method::GET,
            place("/authenticated", &of_b),
            none.clone(),
            Some(ask_one(&world.a, reading, Method::GET, &place("/authenticated", &of_a), &none).await),
        ),
        (
            "read plainly",
            Method::GET,
            place("", &of_b),
            none.clone(),
            Some(ask_one(&world.a, reading, Method::GET, &place("", &of_a), &none).await),
        ),
        (
            "sign",
            Method::POST,
            place("/sign", &of_b),
            json!({"expiresIn": 60}),
            Some(ask_one(&world.a, reading, Method::POST, &place("/sign", &of_a), &json!({"expiresIn": 60})).await),
        ),
        (
            "list",
            Method::POST,
            list.clone(),
            folder(&world.b),
            Some(ask_one(&world.a, reading, Method::POST, &list, &folder(&world.a)).await),
        ),
        ("list all", Method::POST, list.clone(), json!({"prefix": ""}), None),
        (
            "add",
            Method::POST,
            place("", &fresh(&world.b, 1)),
            json!("new"),
            Some(ask_one(&world.a, Some(writer), Method::POST, &place("", &fresh(&world.a, 1)), &json!("new")).await),
        ),
        ("write over", Method::PUT, place("", &of_b), json!("new"), None),
        (
            "remove",
            Method::DELETE,
            removal.clone(),
            json!({"prefixes": [of_b]}),
            Some(
                ask_one(
                    &world.a,
                    Some(&world.service),
                    Method::DELETE,
                    &removal,
                    &json!({"prefixes": [fresh(&world.a, 1)]}),
                )
                .await,
            ),
        ),
    ];
    for (what, method, path, body, own) in lines {
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(ask_one(&world.b, caller.token.as_deref(), method.clone(), &path, &body).await);
        }
        if let Some(own) = own.as_ref().filter(|own| own.body == json!([]) && what == "list") {
            table.missing(format!("A's own sees nothing in {bucket}: {}", own.body));
        }
        table.line(&format!("{what} {bucket}"), answers, own, nothing);
    }
    // The token in a signed URL is of one object.
    let signed = ask_one(&world.a, reading, Method::POST, &place("/sign", &of_a), &json!({"expiresIn": 60})).await;
    let signed = format!("/storage/v1{}", signed.body["signedURL"].as_str().unwrap_or_default());
    let own = ask_one(&world.a, None, Method::GET, &signed, &none).await;
    let other = ask_one(&world.b, None, Method::GET, &signed.replace(&of_a, &of_b), &none).await;
    let answers = callers.iter().map(|_| other.clone()).collect();
    table.line(&format!("A's signed URL in {bucket}"), answers, Some(own), nothing);
}

async fn ask_one(of: &Project, token: Option<&str>, method: Method, path: &str, body: &Value) -> Answer {
    of.place.ask(method, path, token, body.clone()).await
}

/// Storage answers 400 with the status in the body; who sees nothing is listed nothing.
fn nothing(answer: &Answer) -> bool {
    refused(answer) || answer.status == 400 && answer.body["statusCode"].is_string() || answer.body == json!([])
}
