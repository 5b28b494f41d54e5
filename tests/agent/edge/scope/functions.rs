//! Every function of the schema `public`, as the database itself lists them.

use serde_json::{Value, json};

use super::{Caller, Table, refused};
use crate::edge::world::{Answer, Project, World};

/// Who has the right to call it for A.
#[derive(Clone, Copy)]
enum Own {
    Agent,
    Person,
    Service,
}

/// Signature, arguments for a project, and whose it is. A function that is not here fails the test.
fn calls(p: &Project) -> Vec<(&'static str, Value, Own)> {
    let (id, path) = (json!(p.id), json!(p.path));
    vec![
        ("project_head(uuid)", json!({"project_uuid": id}), Own::Agent),
        (
            "list_project_changes(uuid,bigint,integer,boolean)",
            json!({"project_uuid": id, "since_revision": 0}),
            Own::Agent,
        ),
        (
            "get_project_file(uuid,text,integer)",
            json!({"project_uuid": id, "p_file_path": path, "p_version": 1}),
            Own::Agent,
        ),
        ("list_current_files(uuid)", json!({"project_uuid": id}), Own::Agent),
        (
            "upsert_project_file(uuid,text,text,text,integer)",
            json!({"project_uuid": id, "p_file_path": "new.txt", "p_content": "new"}),
            Own::Person,
        ),
        ("delete_project_file(uuid,text,integer)", json!({"project_uuid": id, "p_file_path": path}), Own::Person),
        (
            "bulk_upsert_project_files(uuid,jsonb)",
            json!({"project_uuid": id, "files": [{"file_path": path, "content": "new"}]}),
            Own::Person,
        ),
        ("bulk_delete_project_files(uuid,text[])", json!({"project_uuid": id, "file_paths": [path]}), Own::Person),
        (
            "register_project_asset(uuid,text,text,text,bigint,integer)",
            json!({"project_uuid": id, "p_file_path": "logo.svg", "p_file_type": "image", "p_content_hash": p.asset,
                "p_size": 4 + p.path.len() - 4}),
            Own::Person,
        ),
        ("prune_project_files(uuid)", json!({"project_uuid": id}), Own::Service),
        ("open_preview_session(uuid,boolean,uuid)", json!({"project_uuid": id}), Own::Person),
        ("preview_session(uuid)", json!({"session_uuid": p.session}), Own::Person),
        ("end_preview_session(uuid,text,uuid)", json!({"session_uuid": p.spare}), Own::Person),
        (
            "preview_session_started(uuid,text,text,text)",
            json!({"session_uuid": p.session, "p_provider": "x", "p_machine_id": "x", "p_preview_url": "x"}),
            Own::Service,
        ),
        (
            "restart_preview_session(uuid,uuid)",
            json!({"session_uuid": p.session, "claim": "cccccccc-0000-4000-8000-00000000000c"}),
            Own::Service,
        ),
        ("preview_session_gone(uuid)", json!({"session_uuid": p.spare}), Own::Service),
        ("renew_preview_session(uuid,uuid)", json!({"session_uuid": p.session, "project_uuid": id}), Own::Service),
        ("sweep_preview_sessions(integer)", json!({"idle_seconds": 1_000_000}), Own::Service),
        ("live_preview_sessions(uuid[])", json!({"session_uuids": [p.session]}), Own::Service),
    ]
}

/// Of no project: a person may ask for it, and is told nothing of anybody.
const OF_NO_PROJECT: &str = "is_feature_enabled(text,uuid)";

/// What the local backend has without a database.
const IN_MEMORY: [&str; 10] = [
    "project_head(uuid)",
    "list_project_changes(uuid,bigint,integer,boolean)",
    "get_project_file(uuid,text,integer)",
    "list_current_files(uuid)",
    "upsert_project_file(uuid,text,text,text,integer)",
    "delete_project_file(uuid,text,integer)",
    "bulk_upsert_project_files(uuid,jsonb)",
    "bulk_delete_project_files(uuid,text[])",
    "register_project_asset(uuid,text,text,text,bigint,integer)",
    OF_NO_PROJECT,
];

pub async fn ask(world: &World, callers: &[Caller], table: &mut Table) {
    let listed = "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'public'::regnamespace
        and p.prokind in ('f', 'p') and p.prorettype <> 'trigger'::regtype order by 1";
    let (of_a, of_b) = (calls(&world.a), calls(&world.b));
    let listed: Vec<String> = match world.database {
        Some(_) => world.sql(listed).await.into_iter().filter_map(|row| row.into_iter().next()?).collect(),
        None => IN_MEMORY.map(str::to_owned).to_vec(),
    };
    for signature in &listed {
        let name = signature.split('(').next().unwrap_or_default();
        let what = format!("rpc {name}");
        if signature == OF_NO_PROJECT {
            let arguments = json!({"flag_key": "FSYNC_USE_RPC", "user_id": world.b.owner_id});
            let answers = each(world, callers, name, &arguments).await;
            let own = world.a.place.rpc(Some(&world.a.owner), name, arguments).await;
            table.line(&what, answers, Some(own), |answer| refused(answer) || answer.body.is_boolean());
            continue;
        }
        let Some(at) = of_b.iter().position(|(known, ..)| *known == signature) else {
            table.missing(format!("the function {signature} has no line here: who of A may ask it for B, and for A?"));
            continue;
        };
        let answers = each(world, callers, name, &of_b[at].1).await;
        let own = match of_a[at].2 {
            Own::Agent => callers[0].token.as_deref(),
            Own::Person => Some(world.a.owner.as_str()),
            Own::Service => Some(world.service.as_str()),
        };
        let own = world.a.place.rpc(own, name, of_a[at].1.clone()).await;
        table.line(&what, answers, Some(own), refused);
    }
    for (known, ..) in of_b {
        if world.database.is_some() && !listed.iter().any(|listed| listed == known) {
            table.missing(format!("the database has no function {known} any more"));
        }
    }
}

async fn each(world: &World, callers: &[Caller], name: &str, arguments: &Value) -> Vec<Answer> {
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(world.b.place.rpc(caller.token.as_deref(), name, arguments.clone()).await);
    }
    answers
}
