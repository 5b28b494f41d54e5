//! The service's secrets are live in backend and functions, and stand nowhere near a machine.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::edge::functions::Functions;
use crate::edge::world::{SECRET, World, agent, eventually, now};

/// A place that is searched, and what stands there.
type Places = Vec<(String, Vec<u8>)>;

#[tokio::test]
async fn the_services_secrets_are_nowhere_near_a_machine() {
    let world = World::start(&[("PREVIEW_TOKEN_SECONDS", "5")]).await;
    let (place, editor) = (&world.a.place, Some(world.a.editor.as_str()));
    let functions = world.functions.as_ref().expect("they run");
    let opened = place.edge(Method::POST, "/preview-session", editor, json!({"project_id": world.a.id})).await;
    assert_eq!((opened.status, &opened.body["state"]), (200, &json!("running")), "{}", opened.body);
    let session = opened.body["session_id"].as_str().expect("an id").to_owned();
    let url = opened.body["preview_url"].as_str().expect("a URL").to_owned();
    assert!(url.contains("preview_token="), "{url}");
    eventually("the preview says hello", async || preview(&url).await.contains("hello")).await;
    let home = functions.machines.path().join(format!("preview-{session}"));
    let log = || std::fs::read_to_string(home.join("log")).unwrap_or_default();
    eventually("its token is renewed", async || log().contains("token_renewed")).await;

    let mut places = machine(&world, &home).await;
    let status = place.edge(Method::GET, &format!("/preview-session/{session}"), editor, json!(null)).await;
    places.push(("the answer to opening".into(), opened.body.to_string().into()));
    places.push(("the answer about the session".into(), status.body.to_string().into()));
    places.extend(renewal(&world, &session).await);
    places.push(("the functions' log".into(), functions.said().into()));
    places.extend(rows(&world).await);
    places.extend(fly(&world).await);
    let ended = place.edge(Method::DELETE, &format!("/preview-session/{session}"), editor, json!(null)).await;
    assert_eq!((ended.status, &ended.body["state"]), (200, &json!("ended")), "{}", ended.body);

    let service = world.service.as_str();
    for (what, secret) in [("the service key", service), ("the signing secret", SECRET), ("Fly's token", FLY_TOKEN)] {
        let found = search(&places, secret);
        assert!(found.is_empty(), "{what} stands in: {found:?}");
    }
    println!("the secrets stand in none of {} places", places.len());

    // The same search finds what is there: the project's own mark, wherever a secret could have got to in the same way,
    // and a key in the environment of a process.
    let found = search(&places, "of-a");
    let kinds = [
        "log",
        "page /logs",
        "project/whose.txt",
        ".preview-agent/state",
        "the snapshot's entry whose.txt",
        "the snapshot's entry .preview/manifest.json",
        "rows of the database",
    ];
    for kind in kinds {
        assert!(found.iter().any(|place| place == kind), "{kind} is not searched, or not well: {found:?}");
    }
    let of_project = search(&places, &world.a.id);
    let holds = |what: &str| of_project.iter().any(|place| place.contains(what));
    for kind in ["the token of a renewal", "sent to Fly: POST", "page /status", "the answer to opening", "environ of"] {
        assert!(holds(kind), "{kind} is not searched, or not well: {of_project:?}");
    }
    let mut careless = std::process::Command::new("sleep").arg("60").env("KEY", service).spawn().expect("starts");
    eventually("it has an environment", async || !search(&process(careless.id()), service).is_empty()).await;
    careless.kill().and_then(|()| careless.wait()).expect("it ends");
}

const FLY_TOKEN: &str = "fly-c4n4ry-token";

/// Processes with their environments and arguments, pages, and every file below the machine's directory.
async fn machine(world: &World, home: &Path) -> Places {
    let about: Value =
        serde_json::from_slice(&std::fs::read(home.join("machine.json")).expect("it is kept")).expect("JSON");
    let processes = tree(about["pid"].as_u64().expect("a pid"));
    let command = |pid: &u64| {
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
    };
    let commands: Vec<String> = processes.iter().map(command).collect();
    assert!(commands.iter().any(|line| line.contains("preview-agent")), "the agent is searched: {commands:?}");
    assert!(
        commands.iter().any(|line| line.contains("node") && line.contains("server.js")),
        "so is the dev server: {commands:?}"
    );
    let mut places: Places = processes.iter().flat_map(|pid| process(*pid as u32)).collect();
    for page in ["status", "metrics", "logs", "healthz", "readyz"] {
        let text = text(world, &format!("http://127.0.0.1:{}/{page}", about["statusPort"])).await;
        assert!(!text.is_empty(), "/{page} says something");
        places.push((format!("page /{page}"), text.into()));
    }
    files(home, home, &mut places);
    let all: Vec<&str> = places.iter().map(|(place, _)| place.as_str()).collect();
    for kind in ["machine.json", "log", "project/server.js", ".preview-agent/"] {
        assert!(all.iter().any(|place| place.contains(kind)), "{kind} is searched: {all:?}");
    }
    places
}

/// The process and those below it.
fn tree(pid: u64) -> Vec<u64> {
    let mut all = vec![pid];
    // Children of every thread of it.
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(tree));
    }
    all
}

fn process(pid: u32) -> Places {
    let part = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}"));
        (format!("{name} of process {pid}"), bytes.unwrap_or_else(|error| panic!("{name} of {pid}: {error}")))
    };
    vec![part("environ"), part("cmdline")]
}

fn files(root: &Path, directory: &Path, places: &mut Places) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files(root, &path, places),
            kind if kind.is_file() => {
                let name = path.strip_prefix(root).expect("below").display().to_string();
                places.push((name, std::fs::read(&path).expect("readable")));
            }
            _ => {}
        }
    }
}

/// What a machine is given later: renewal's answers, the token looked into, the snapshot and each of its entries.
async fn renewal(world: &World, session: &str) -> Places {
    let token = world.sign(&agent(&world.a.id, session, now() + 60));
    let mut places = Places::new();
    for rebuild in [false, true] {
        let wish =
            json!({"session_id": session, "project_id": world.a.id, "want": ["token", "snapshot"], "rebuild": rebuild});
        let answer = world.a.place.edge(Method::POST, "/preview-session/renew", Some(&token), wish).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        places.push(("renewal".into(), answer.body.to_string().into()));
        let claims = crate::edge::world::claims(answer.body["realtime_token"].as_str().expect("a token"));
        places.push(("the token of a renewal".into(), claims.to_string().into()));
        let url = answer.body["snapshot_url"].as_str().expect("a URL");
        let zip = world.a.place.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
        places.push(("the snapshot".into(), zip.to_vec()));
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
        for at in 0..archive.len() {
            let mut entry = archive.by_index(at).expect("an entry");
            let name = format!("the snapshot's entry {}", entry.name().expect("text"));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("whole");
            places.push((name, bytes));
        }
    }
    places
}

/// What any function could read back: sessions and projects.
async fn rows(world: &World) -> Places {
    let statements = "select to_jsonb(s) from public.preview_sessions s; select to_jsonb(p) from public.projects p;
        select name, metadata from storage.objects; select to_jsonb(m) from realtime.messages m";
    let rows = world.sql(statements).await;
    vec![("rows of the database".into(), format!("{rows:?}").into())]
}

/// What a machine of Fly's would be made of: everything that is sent there but the headers.
async fn fly(world: &World) -> Places {
    let sent = Arc::new(Mutex::new(Places::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(record).with_state(sent.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let functions = Functions::start(&[
        ("SUPABASE_URL", &world.a.place.url),
        ("SUPABASE_ANON_KEY", &world.a.place.anon_key),
        ("SUPABASE_SERVICE_ROLE_KEY", &world.service),
        ("PREVIEW_JWT_SECRET", SECRET),
        ("MACHINES_PROVIDER", "fly"),
        ("FLY_API_URL", &url),
        ("FLY_API_TOKEN", FLY_TOKEN),
        ("FLY_APP", "previews"),
        ("FLY_IMAGE", "registry.test/previews:1"),
        ("FLY_PREVIEW_URL", "https://{machine}.previews.test/"),
    ]);
    let wish = json!({"project_id": world.a.id, "another": true}).to_string();
    let opening = format!("{}/preview-session", functions.url);
    // Whatever comes of it: what was sent is what counts.
    let token = Some(world.a.editor.as_str());
    world.a.place.send(Method::POST, &opening, token, &[], wish.into()).await;
    let sent = std::mem::take(&mut *sent.lock().expect("no panic"));
    let config = sent
        .iter()
        .any(|(_, body)| String::from_utf8_lossy(body).contains(&format!("\"PROJECT_ID\":\"{}\"", world.a.id)));
    assert!(config, "no machine was asked for: {:?}", sent.iter().map(|(path, _)| path).collect::<Vec<_>>());
    sent
}

/// A machine that is started, whatever is asked; none where they are listed.
async fn record(State(sent): State<Arc<Mutex<Places>>>, request: Request) -> axum::response::Response {
    let what = format!("sent to Fly: {} {}", request.method(), request.uri());
    let list = request.method() == Method::GET && request.uri().path().ends_with("/machines");
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    sent.lock().expect("no panic").push((what, body.to_vec()));
    if list {
        return Json(json!([])).into_response();
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    Json(json!({"id": "m1", "name": asked["name"], "state": "started", "ok": true, "config": asked["config"]}))
        .into_response()
}

/// Where `needle` stands: as it is, in base64 however it is aligned, or in hex.
fn search(places: &Places, needle: &str) -> Vec<String> {
    let bytes = needle.as_bytes();
    let mut forms =
        vec![bytes.to_vec(), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()];
    for at in 0..3 {
        // Whole groups of three bytes are what the neighbours do not change.
        let whole = &bytes[at.min(bytes.len())..];
        let whole = BASE64_STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3]);
        forms.extend([whole.replace('+', "-").replace('/', "_").into_bytes(), whole.into_bytes()]);
    }
    forms.retain(|form| !form.is_empty());
    let stands = |text: &[u8]| forms.iter().any(|form| text.windows(form.len()).any(|window| window == form));
    places.iter().filter(|(_, text)| stands(text)).map(|(place, _)| place.clone()).collect()
}

/// The preview's page, as a browser gets it: the token in the address becomes a cookie by a redirect.
async fn preview(url: &str) -> String {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let Ok(first) = client.get(url).send().await else { return String::new() };
    let header = |name: &str| first.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (Some(cookie), Some(location)) = (header("set-cookie"), header("location")) else {
        return first.text().await.unwrap_or_default();
    };
    let page = reqwest::Url::parse(url).and_then(|url| url.join(&location)).expect("a URL");
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    match client.get(page).header("cookie", cookie).send().await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

async fn text(world: &World, url: &str) -> String {
    match world.a.place.http.get(url).send().await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}
