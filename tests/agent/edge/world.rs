use std::time::{Duration, SystemTime, UNIX_EPOCH};

use local_backend::testing::{PostgresServer, sql};
use local_backend::{Backend, BackendOptions, DatabaseUrl, SeedFile};
use reqwest::Method;
use serde_json::{Value, json};

use crate::edge::functions::Functions;

/// Longer than anything should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SECRET: &str = "the functions' tests sign with this secret of theirs";
/// Stands in everything that is of project B, and nowhere else.
pub const OF_B: &str = "only-of-b";
const OF_A: &str = "of-a";
/// No token of these tests sees this second pass.
pub const FAR: u64 = 4_000_000_000;

/// One of two projects in one database: its files, people and sessions.
pub struct Project {
    pub id: String,
    pub owner_id: String,
    /// Tokens of its owner, and of a member who may write.
    pub owner: String,
    pub editor: String,
    pub path: String,
    pub asset: String,
    /// The owner's sessions; the second may be ended.
    pub session: String,
    pub spare: String,
    /// Where its files are asked for.
    pub place: Place,
    pub backend: Backend,
}

/// Where requests go.
#[derive(Clone)]
pub struct Place {
    pub url: String,
    pub functions: String,
    pub anon_key: String,
    pub http: reqwest::Client,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Two projects: in one PostgreSQL with the functions beside it, or each in a memory of its own, with one secret.
pub struct World {
    pub a: Project,
    pub b: Project,
    pub service: String,
    pub database: Option<DatabaseUrl>,
    pub functions: Option<Functions>,
    _server: Option<PostgresServer>,
}

const A: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";

impl World {
    /// Over PostgreSQL, with the Edge Functions, and with these settings of theirs.
    pub async fn start(settings: &[(&str, &str)]) -> World {
        let server = PostgresServer::start().expect("PostgreSQL starts");
        let database = server.database().expect("a database");
        let b = backend(B, OF_B, Some(&database)).await;
        let a = backend(A, OF_A, Some(&database)).await;
        let service = service(&b);
        let given = [
            ("SUPABASE_URL", b.url()),
            ("SUPABASE_ANON_KEY", b.agent_settings().anon_key),
            ("SUPABASE_SERVICE_ROLE_KEY", service.clone()),
            ("PREVIEW_JWT_SECRET", SECRET.to_owned()),
        ];
        let given = given.iter().map(|(name, value)| (*name, value.as_str()));
        let functions = Functions::start(&given.chain(settings.iter().copied()).collect::<Vec<_>>());
        let place = Place::of(&b, functions.url.clone());
        let a = Project::with_people(a, OF_A, &database, &place).await;
        let b = Project::with_people(b, OF_B, &database, &place).await;
        World { a, b, service, database: Some(database), functions: Some(functions), _server: Some(server) }
    }

    /// In memory, with the backends' own functions.
    pub async fn in_memory() -> World {
        let (a, b) = (backend(A, OF_A, None).await, backend(B, OF_B, None).await);
        let service = service(&b);
        let (a, b) = (Project::in_memory(a, OF_A).await, Project::in_memory(b, OF_B).await);
        World { a, b, service, database: None, functions: None, _server: None }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.b.backend.sign(claims)
    }

    /// Rows of the database as text.
    pub async fn sql(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        sql(self.database.as_ref().expect("over PostgreSQL"), statements).await.expect("an answer")
    }
}

fn service(backend: &Backend) -> String {
    backend.sign(&json!({"role": "service_role", "canary": "c4n4ry", "exp": FAR}))
}

/// A project's own backend, with files that say whose they are.
pub async fn backend(id: &str, mark: &str, database: Option<&DatabaseUrl>) -> Backend {
    backend_with(id, mark, database, Vec::new()).await
}

/// The same, where tokens may be signed with these keys as well.
pub async fn backend_with(id: &str, mark: &str, database: Option<&DatabaseUrl>, jwks: Vec<Value>) -> Backend {
    let asset = [&[0, 159, 146, 150], mark.as_bytes()].concat();
    // Its log, too, says whose it is.
    let script =
        [include_str!("../../functions/server.js"), "console.log(readFileSync('whose.txt', 'utf8'))\n"].concat();
    let package = br#"{"name": "shown", "private": true, "scripts": {"dev": "node server.js"}}"#.to_vec();
    let file = |path: String, bytes| SeedFile { path, bytes };
    let files = vec![
        file(format!("{mark}.txt"), mark.as_bytes().to_vec()),
        file("logo.png".into(), asset),
        file("message.txt".into(), b"hello".to_vec()),
        file("package.json".into(), package),
        file("server.js".into(), script.into_bytes()),
        file("whose.txt".into(), mark.as_bytes().to_vec()),
    ];
    let options = BackendOptions {
        project_id: id.into(),
        database_url: database.cloned(),
        jwt_secret: Some(SECRET.into()),
        jwks,
        files,
        refusal_delay: Duration::from_millis(20),
        join_refusal_delay: Duration::from_millis(20),
        postgres_changes_delay: Duration::from_millis(20),
        ..BackendOptions::default()
    };
    Backend::start(options).await.expect("the backend starts")
}

/// Asks until it holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = tokio::time::Instant::now() + 2 * PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < until, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Project {
    async fn with_people(backend: Backend, mark: &str, database: &DatabaseUrl, place: &Place) -> Project {
        let (id, owner) = (backend.agent_settings().project_id, backend.editor_token());
        let owner_id = claims(&owner)["sub"].as_str().expect("a sub").to_owned();
        let editor_id = uuid::Uuid::new_v4().to_string();
        let people = format!(
            "insert into auth.users (id) values ('{editor_id}');
             insert into public.user_profiles (id, display_name) values ('{editor_id}', '{mark}');
             update public.user_profiles set display_name = '{mark}' where id = '{owner_id}';
             update public.projects set name = '{mark}' where id = '{id}';
             insert into public.project_members (project_id, user_id, role) values ('{id}', '{editor_id}', 'editor')"
        );
        sql(database, &people).await.expect("people");
        let editor = backend.sign(&person(&editor_id));
        let mut sessions = Vec::new();
        for another in [false, true] {
            let arguments = json!({"project_uuid": id, "another": another});
            let opened = place.rpc(Some(&owner), "open_preview_session", arguments).await;
            assert_eq!(opened.status, 200, "{}", opened.body);
            sessions.push(opened.body["session_id"].as_str().expect("an id").to_owned());
        }
        let seen =
            format!("update public.preview_sessions set preview_url = 'http://{mark}/' where project_id = '{id}'");
        sql(database, &seen).await.expect("an address");
        let asset = backend.store().newest("logo.png").and_then(|row| row.content_hash).expect("an asset");
        let [session, spare] = sessions.try_into().expect("two sessions");
        let place = place.clone();
        Project { id, owner_id, owner, editor, path: format!("{mark}.txt"), asset, session, spare, place, backend }
    }

    /// Its editor is its owner, and one person.
    async fn in_memory(backend: Backend, mark: &str) -> Project {
        let place = Place::local(&backend);
        let (session, owner) = (backend.agent_settings(), backend.editor_token());
        let another = json!({"project_id": session.project_id, "another": true});
        let another = place.edge(Method::POST, "/preview-session", Some(&owner), another).await;
        Project {
            owner_id: claims(&owner)["sub"].as_str().expect("a sub").to_owned(),
            editor: owner.clone(),
            owner,
            path: format!("{mark}.txt"),
            asset: backend.store().newest("logo.png").and_then(|row| row.content_hash).expect("an asset"),
            session: session.session_id,
            spare: another.body["session_id"].as_str().expect("a session").to_owned(),
            id: session.project_id,
            place,
            backend,
        }
    }
}

impl Place {
    /// With the backend's own functions.
    pub fn local(backend: &Backend) -> Place {
        Place::of(backend, format!("{}/functions/v1", backend.url()))
    }

    pub fn of(backend: &Backend, functions: String) -> Place {
        // An error says that somebody else in this process has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Place { url: backend.url(), functions, anon_key: backend.agent_settings().anon_key, http }
    }

    /// A function of the database.
    pub async fn rpc(&self, token: Option<&str>, name: &str, arguments: Value) -> Answer {
        self.ask(Method::POST, &format!("/rest/v1/rpc/{name}"), token, arguments).await
    }

    /// Any place of the API.
    pub async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.send(method, &format!("{}{path}", self.url), token, &[], body.to_string().into()).await
    }

    /// An Edge Function.
    pub async fn edge(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.send(method, &format!("{}{path}", self.functions), token, &[], body.to_string().into()).await
    }

    pub async fn send(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = self.http.request(method.clone(), url).header("apikey", &self.anon_key);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if method != Method::GET {
            request = request.header("content-type", "application/json").body(body);
        }
        // Sent after the type that it may replace.
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }
}

pub fn person(id: &str) -> Value {
    json!({"role": "authenticated", "aud": "authenticated", "sub": id, "exp": FAR})
}

pub fn agent(project: &str, session: &str, exp: u64) -> Value {
    json!({"role": "preview_agent", "project_id": project, "session_id": session, "iat": exp - 3600, "exp": exp})
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What a token says.
pub fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).expect("a JWT");
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("claims")
}
