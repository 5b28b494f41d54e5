//! Every table and view of the schema `public`: read, written to, changed, emptied.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Table, refused};
use crate::edge::world::{Answer, World};

/// A row that would be of B, and what picks B's rows.
fn attempts(world: &World) -> Vec<(&'static str, Value, String)> {
    let (a, b) = (&world.a, &world.b);
    let of_project = format!("project_id=eq.{}", b.id);
    let new = uuid::Uuid::new_v4().to_string();
    vec![
        ("project_files", json!({"project_id": b.id, "file_path": "new", "content": "new"}), of_project.clone()),
        (
            "project_files_current",
            json!({"project_id": b.id, "file_path": "new", "content": "new"}),
            of_project.clone(),
        ),
        ("projects", json!({"id": new, "owner_id": b.owner_id}), format!("id=eq.{}", b.id)),
        ("user_profiles", json!({"id": new, "display_name": "new"}), format!("id=eq.{}", b.owner_id)),
        // Who makes himself a member needs no other way.
        ("project_members", json!({"project_id": b.id, "user_id": a.owner_id, "role": "editor"}), of_project.clone()),
        ("feature_flags", json!({"flag_key": "NEW", "description": "new"}), "flag_key=eq.FSYNC_USE_RPC".into()),
        (
            "preview_sessions",
            json!({"project_id": b.id, "owner_id": a.owner_id, "lease_until": "2030-01-01"}),
            of_project,
        ),
    ]
}

pub async fn ask(world: &World, callers: &[Caller], table: &mut Table) {
    let listed = "select c.relname::text from pg_class c where c.relnamespace = 'public'::regnamespace
        and c.relkind in ('r', 'p', 'v', 'm', 'f') order by 1";
    let listed = world.sql(listed).await;
    let attempts = attempts(world);
    for name in listed.iter().filter_map(|row| row[0].as_deref()) {
        let Some((_, row, of_b)) = attempts.iter().find(|(known, ..)| *known == name) else {
            table.missing(format!("the table {name} has no line here: what of it is B's?"));
            continue;
        };
        let own = if name == "feature_flags" { &world.service } else { &world.a.owner };
        let own = world.b.place.ask(Method::GET, &format!("/rest/v1/{name}"), Some(own), json!(null)).await;
        let of_a = name == "feature_flags"
            || own.body.to_string().contains(&world.a.id)
            || own.body.to_string().contains("of-a");
        if !of_a {
            table.missing(format!("A's own reads nothing of {name}: {}", own.body));
        }
        let read = each(world, callers, Method::GET, &format!("/rest/v1/{name}"), &json!(null)).await;
        let nothing = |answer: &Answer| refused(answer) || !answer.body.to_string().contains(&world.b.id);
        table.line(&format!("read {name}"), read, Some(own), nothing);

        let path = format!("/rest/v1/{name}");
        let insert = each(world, callers, Method::POST, &path, row).await;
        table.line(&format!("insert into {name}"), insert, None, refused);
        let some = |answer: &Answer| refused(answer) || answer.body == json!([]);
        let picked = format!("{path}?{of_b}");
        let update = each(world, callers, Method::PATCH, &picked, row).await;
        table.line(&format!("update {name}"), update, None, some);
        let delete = each(world, callers, Method::DELETE, &picked, &json!(null)).await;
        table.line(&format!("delete from {name}"), delete, None, some);
    }
    let (path, row) = ("/rest/v1/project_files", json!({"project_id": world.b.id}));
    let own = json!({"project_id": world.a.id, "file_path": "by-table.txt", "content": "of-a"});
    let own = represented(world, Some(&world.a.owner), Method::POST, path, &own).await;
    let moved = format!("{path}?file_path=eq.by-table.txt");
    let moved = each(world, callers, Method::PATCH, &moved, &row).await;
    let stays = |answer: &Answer| refused(answer) || answer.body["code"] == "0A000";
    table.line("move A's row to B", moved, Some(own), stays);
}

async fn each(world: &World, callers: &[Caller], method: Method, path: &str, body: &Value) -> Vec<Answer> {
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(represented(world, caller.token.as_deref(), method.clone(), path, body).await);
    }
    answers
}

/// With the rows that were written in the answer: none is a list of none.
async fn represented(world: &World, token: Option<&str>, method: Method, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", world.b.place.url);
    world.b.place.send(method, &url, token, &[("prefer", "return=representation")], body.to_string().into()).await
}
