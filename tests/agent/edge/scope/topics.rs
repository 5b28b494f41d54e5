//! Both topics of a project: joined, listened to, sent on, by websocket and by HTTP; presence; and rows.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Table};
use crate::edge::socket::{QUIET, Socket};
use crate::edge::world::{Answer, OF_B, Project, World};

pub async fn ask(world: &World, callers: &[Caller], table: &mut Table) {
    for suffix in ["", ":status"] {
        joins(world, callers, table, suffix, "join", json!({"private": true})).await;
        let present = json!({"private": true, "presence": {"enabled": true, "key": "x"}});
        joins(world, callers, table, suffix, "join with presence", present).await;
    }
    listening(world, callers, table).await;
}

async fn open(project: &Project) -> Socket {
    Socket::open(&project.place.url, &project.place.anon_key).await
}

async fn joins(world: &World, callers: &[Caller], table: &mut Table, suffix: &str, how: &str, config: Value) {
    let join = async |token: Option<&str>, project: &Project| {
        let topic = format!("project:{}{suffix}", project.id);
        let reply = open(project).await.join(&topic, token, config.clone()).await;
        let status = if reply["status"] == "ok" { 200 } else { 403 };
        Answer { status, body: reply["response"].clone() }
    };
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(join(caller.token.as_deref(), &world.b).await);
    }
    let own = join(callers[0].token.as_deref(), &world.a).await;
    table.line(&format!("{how} project:B{suffix}"), answers, Some(own), |answer| answer.status == 403);
}

/// Callers join publicly, which anybody may, subscribe to rows with and without a filter, and send as they can. B's own
/// hears nothing of it, and they nothing of B's next save.
async fn listening(world: &World, callers: &[Caller], table: &mut Table) {
    let (a, b) = (&world.a, &world.b);
    let topics = [format!("project:{}", b.id), format!("project:{}:status", b.id)];
    let private = json!({"private": true});
    let mut of_b = open(b).await;
    for topic in &topics {
        let reply = of_b.join(topic, Some(&b.owner), private.clone()).await;
        assert_eq!(reply["status"], "ok", "B's own joins: {reply}");
    }
    let rows = |project: &str| {
        let all = json!({"event": "*", "schema": "public", "table": "project_files"});
        let mut its = all.clone();
        its["filter"] = json!(format!("project_id=eq.{project}"));
        json!({"private": false, "presence": {"enabled": true}, "postgres_changes": [all, its]})
    };
    let mut of_a = open(a).await;
    of_a.join(&format!("project:{}", a.id), callers[0].token.as_deref(), private).await;
    let mut rows_of_a = open(a).await;
    let reply = rows_of_a.join(&format!("project:{}", a.id), callers[0].token.as_deref(), rows(&a.id)).await;
    assert_eq!(reply["status"], "ok", "{reply}");
    stands(&mut rows_of_a).await;

    let mut listeners = Vec::new();
    for caller in callers {
        let mut socket = open(b).await;
        let mut joined = false;
        for topic in &topics {
            joined = socket.join(topic, caller.token.as_deref(), rows(&b.id)).await["status"] == "ok";
            if joined {
                stands(&mut socket).await;
            }
            socket.broadcast(topic, "forged").await;
        }
        listeners.push((socket, joined));
    }
    let mut sent = Vec::new();
    for caller in callers {
        sent.push(send_by_http(world, caller.token.as_deref(), &topics).await);
    }
    // What is sent without the right is taken and goes nowhere; a token that is none is refused.
    table.line("send on B's topics by HTTP", sent, None, |answer| matches!(answer.status, 202 | 401));

    for (project, mark) in [(b, OF_B), (a, "of-a")] {
        let save =
            json!({"project_uuid": project.id, "p_file_path": "saved.txt", "p_content": format!("{mark} saved")});
        let saved = project.place.rpc(Some(&project.owner), "upsert_project_file", save).await;
        assert_eq!(saved.status, 200, "{}", saved.body);
    }
    // The save is the first that B's own hears: nothing that others sent came before it.
    let first = hears(&mut of_b, OF_B, Duration::from_secs(30)).await.expect("B's own hears the save");
    let forged = first.iter().find(|frame| frame.contains("forged")).cloned();
    let after = hears(&mut of_b, "forged", QUIET).await.map(|frames| frames.concat());
    let forged = forged.or(after);
    table.silence("what callers sent, at B's own", callers.iter().map(|_| forged.clone()).collect(), true);

    let own = hears(&mut of_a, "of-a saved", Duration::from_secs(30)).await.is_some();
    let own_rows = hears(&mut rows_of_a, "of-a saved", Duration::from_secs(30)).await.is_some();
    let mut heard = Vec::new();
    for (socket, joined) in &mut listeners {
        heard.push(match joined {
            true => hears(socket, OF_B, QUIET).await.map(|frames| frames.concat()),
            false => None,
        });
    }
    table.silence("a save, on B's topics joined publicly", heard.clone(), own);
    table.silence("a save, as rows (postgres_changes)", heard, own_rows);
}

/// Until the subscription to rows stands.
async fn stands(socket: &mut Socket) {
    while socket.next().await["payload"]["extension"] != "postgres_changes" {}
}

/// The frames up to the one that holds `text`; nothing where none comes in time.
async fn hears(socket: &mut Socket, text: &str, patience: Duration) -> Option<Vec<String>> {
    let mut frames = Vec::new();
    let until = tokio::time::Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        frames.push(socket.within(left).await?.to_string());
        if frames.last()?.contains(text) {
            return Some(frames);
        }
    }
}

async fn send_by_http(world: &World, token: Option<&str>, topics: &[String]) -> Answer {
    let messages: Vec<Value> =
        topics.iter().map(|topic| json!({"topic": topic, "event": "forged", "payload": {}, "private": true})).collect();
    let sent =
        world.b.place.ask(Method::POST, "/realtime/v1/api/broadcast", token, json!({"messages": messages})).await;
    for topic in topics {
        let path = format!("/realtime/v1/api/broadcast/{topic}/events/forged?private=true");
        assert_eq!(world.b.place.ask(Method::POST, &path, token, json!({})).await.status, sent.status, "{topic}");
    }
    sent
}
