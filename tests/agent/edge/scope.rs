//! What somebody of project A gets of project B: nothing, wherever they ask. And what they get of A: the control.

mod edge;
mod functions;
mod objects;
mod tables;
mod topics;

use serde_json::{Value, json};

use crate::edge::world::{Answer, OF_B, Place, World, agent, now};

/// Somebody who has no right to project B.
pub struct Caller {
    pub name: &'static str,
    /// Nobody, where there is none: the key alone.
    pub token: Option<String>,
}

/// One line of the printed table.
pub struct Line {
    what: String,
    /// What each caller was answered.
    of_b: Vec<String>,
    /// What A's own was answered.
    of_a: String,
}

/// The table, and what is wrong in it.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
    wrong: Vec<String>,
}

#[tokio::test]
async fn a_token_of_one_project_reads_nothing_of_another() {
    let mut world = World::start(&[("PREVIEW_TOKEN_SECONDS", "60")]).await;
    let mut table = Table::default();
    // Before anybody asks: the service makes both snapshots.
    let snapshots = [objects::snapshot(&world, &world.a).await, objects::snapshot(&world, &world.b).await];
    let before = state(&world).await;
    functions::ask(&world, &callers(&world), &mut table).await;
    tables::ask(&world, &callers(&world), &mut table).await;
    objects::ask(&world, &callers(&world), &snapshots, &mut table).await;
    assert_eq!(state(&world).await, before, "whatever was answered, nothing of B has changed");
    topics::ask(&world, &callers(&world), &mut table).await;
    edge::ask(&world, &callers(&world), "Edge Function", &mut table).await;
    // The places of the same names that the backends have themselves, and a new session of A's for them.
    let another = json!({"project_uuid": world.a.id, "another": true});
    let opened = world.a.place.rpc(Some(&world.a.owner), "open_preview_session", another).await;
    world.a.session = opened.body["session_id"].as_str().expect("a session").to_owned();
    for project in [&mut world.a, &mut world.b] {
        project.place = Place::local(&project.backend);
    }
    edge::ask(&world, &callers(&world), "local function", &mut table).await;
    table.finish(&callers(&world));
    holes_are_found(&world, &callers(&world)).await;
}

#[tokio::test]
async fn nor_does_it_in_memory() {
    let world = World::in_memory().await;
    let (callers, mut table) = (callers(&world), Table::default());
    let snapshots = [objects::snapshot(&world, &world.a).await, objects::snapshot(&world, &world.b).await];
    let before = world.b.backend.store().head();
    functions::ask(&world, &callers, &mut table).await;
    objects::ask(&world, &callers, &snapshots, &mut table).await;
    assert_eq!(world.b.backend.store().head(), before, "whatever was answered, nothing of B has changed");
    topics::ask(&world, &callers, &mut table).await;
    edge::ask(&world, &callers, "local function", &mut table).await;
    table.finish(&callers);
}

/// The table would tell of a policy that is too wide, a right that is too much, and a function that nobody thought of.
async fn holes_are_found(world: &World, callers: &[Caller]) {
    let holes = "create policy hole on public.project_files for select to authenticated using (true);
        grant execute on function public.live_preview_sessions(uuid[]) to preview_agent;
        create function public.forgotten() returns text language sql as 'select 1::text'";
    world.sql(holes).await;
    let mut table = Table::default();
    functions::ask(world, callers, &mut table).await;
    tables::ask(world, callers, &mut table).await;
    for hole in ["read project_files: 200", "rpc live_preview_sessions: 200", "forgotten() has no line"] {
        assert!(table.wrong.iter().any(|wrong| wrong.contains(hole)), "{hole} was not found: {:?}", table.wrong);
    }
}

fn callers(world: &World) -> Vec<Caller> {
    let (a, b) = (&world.a, &world.b);
    let signed = |claims: Value| Some(world.sign(&claims));
    let caller = |name, token| Caller { name, token };
    vec![
        caller("agent of A", signed(agent(&a.id, &a.session, now() + 3600))),
        caller("editor of A", Some(a.editor.clone())),
        caller("owner of A", Some(a.owner.clone())),
        caller("anon", None),
        caller("B's agent, expired", signed(agent(&b.id, &b.session, now() - 25 * 3600))),
    ]
}

/// Everything of B that anybody could have changed.
async fn state(world: &World) -> Vec<Vec<Option<String>>> {
    let statements = "select to_jsonb(f) from public.project_files f where project_id = $1 order by id;
        select name, metadata from storage.objects where name like $1 || '/%' order by name;
        select to_jsonb(s) from public.preview_sessions s where project_id = $1 order by id;
        select to_jsonb(m) from public.project_members m where project_id = $1 order by user_id;
        select to_jsonb(p) from public.projects p where p.id = $1;
        select count(*) from public.user_profiles; select to_jsonb(f) from public.feature_flags f order by 1";
    let statements = statements.replace("$1", &format!("'{}'", world.b.id));
    world.sql(&statements).await
}

impl Table {
    /// What callers were answered of B, and A's own of A. `expected` says of an answer whether it gives nothing.
    pub fn line(
        &mut self,
        what: &str,
        of_b: Vec<Answer>,
        of_a: Option<Answer>,
        gives_nothing: impl Fn(&Answer) -> bool,
    ) {
        let wrong: Vec<String> = of_b
            .iter()
            .filter(|answer| !gives_nothing(answer) || answer.body.to_string().contains(OF_B))
            .map(|answer| format!("{what}: {} {}", answer.status, answer.body))
            .collect();
        self.wrong.extend(wrong);
        if let Some(answer) = of_a.as_ref().filter(|answer| !(200..300).contains(&answer.status)) {
            self.wrong.push(format!("{what}: A's own was refused: {} {}", answer.status, answer.body));
        }
        let of_a = of_a.as_ref().map_or("-".into(), shown);
        self.lines.push(Line { what: what.into(), of_b: of_b.iter().map(shown).collect(), of_a });
    }

    /// Where no status tells: `heard` says what of B came to each caller.
    pub fn silence(&mut self, what: &str, heard: Vec<Option<String>>, of_a: bool) {
        for frame in heard.iter().flatten() {
            self.wrong.push(format!("{what}: {frame}"));
        }
        if !of_a {
            self.wrong.push(format!("{what}: A's own heard nothing"));
        }
        let of_b = heard.iter().map(|frame| if frame.is_some() { "HEARD" } else { "silence" }.to_owned()).collect();
        self.lines.push(Line { what: what.into(), of_b, of_a: if of_a { "heard" } else { "silence" }.into() });
    }

    pub fn missing(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Prints it, and fails where anything is wrong.
    fn finish(&self, callers: &[Caller]) {
        let width = self.lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
        let row = |what: &str, cells: &[String], own: &str| {
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<19}")).collect();
            println!("{what:<width$}  {}  {own}", cells.join(" "));
        };
        let names: Vec<String> = callers.iter().map(|caller| caller.name.to_owned()).collect();
        row("of project B, asked by", &names, "of A, by A's own");
        for line in &self.lines {
            row(&line.what, &line.of_b, &line.of_a);
        }
        let answers: usize = self.lines.iter().map(|line| line.of_b.len() + 1).sum();
        println!("{} lines, {answers} answers", self.lines.len());
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// The status, and the code or the status that storage puts into the body.
fn shown(answer: &Answer) -> String {
    let code = [&answer.body["statusCode"], &answer.body["code"], &answer.body["reason"]];
    let code = code.iter().find_map(|code| code.as_str());
    match code {
        Some(code) => format!("{} {}", answer.status, code.chars().take(14).collect::<String>()),
        None if answer.body.as_array().is_some_and(Vec::is_empty) => format!("{} []", answer.status),
        None => answer.status.to_string(),
    }
}

/// No right, or no such thing.
pub fn refused(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403 | 404)
}
