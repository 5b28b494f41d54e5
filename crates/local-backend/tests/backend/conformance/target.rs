use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use local_backend::testing::PostgresServer;
use local_backend::{Backend, BackendOptions};
use ring::hmac;
use serde_json::{Value, json};

use super::transcript::{Origin, Transcript};

/// Longer than anything should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Signs the tokens of the local targets.
const SECRET: &str = "the secret of the conformance suite, 32 bytes and more";
const PROJECT: &str = "11111111-1111-4111-8111-111111111111";
/// A project and a person who have nothing to do with it.
pub const OTHER: &str = "22222222-2222-4222-8222-222222222222";
/// No token of these tests sees this second pass.
pub const FAR: u64 = 4_000_000_000;

/// A database behind a base URL, and how to be anybody there.
pub struct Target {
    url: String,
    anon_key: String,
    key: hmac::Key,
    project: String,
    owner: String,
    http: reqwest::Client,
    transcript: Transcript,
    /// Serves as long as the target is there; nothing where somebody else serves.
    _backend: Option<Backend>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Owner,
    Service,
    Agent,
    OtherAgent,
    Stranger,
    Anon,
}

/// One case at work: a target, a folder of its own, and the head that it began at.
#[derive(Clone)]
pub struct Scene {
    target: Arc<Target>,
    name: &'static str,
    /// Where its files lie.
    folder: String,
    origin: Origin,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The suite's target while cases run.
pub struct Suite {
    target: Arc<Target>,
    /// A folder of this run, since the project may know earlier ones.
    run: String,
    cases: AtomicUsize,
}

impl Target {
    pub async fn in_memory() -> Target {
        Target::local(BackendOptions::default()).await
    }

    /// Over a PostgreSQL of the test's own.
    pub async fn postgres(server: &PostgresServer) -> Target {
        let database = server.database().expect("a database");
        Target::local(BackendOptions { database_url: Some(database), ..BackendOptions::default() }).await
    }

    async fn local(options: BackendOptions) -> Target {
        let options = BackendOptions {
            project_id: PROJECT.into(),
            jwt_secret: Some(SECRET.into()),
            refusal_delay: Duration::from_millis(20),
            join_refusal_delay: Duration::from_millis(50),
            postgres_changes_delay: Duration::from_millis(50),
            ..options
        };
        let backend = Backend::start(options).await.expect("the backend starts");
        let claims = backend.editor_token().split('.').nth(1).map(|part| BASE64_URL_SAFE_NO_PAD.decode(part));
        let claims: Value = serde_json::from_slice(&claims.expect("a JWT").expect("base64")).expect("claims");
        let owner = claims["sub"].as_str().expect("a sub").to_owned();
        let (url, anon_key) = (backend.url(), backend.agent_settings().anon_key);
        Target::new(url, anon_key, SECRET, PROJECT.into(), owner, Some(backend))
    }

    /// As the environment says.
    pub fn hosted() -> Target {
        let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let url = setting("CONFORMANCE_URL").trim_end_matches('/').to_owned();
        let (project, owner) = (setting("CONFORMANCE_PROJECT_ID"), setting("CONFORMANCE_OWNER_ID"));
        Target::new(url, setting("CONFORMANCE_ANON_KEY"), &setting("CONFORMANCE_JWT_SECRET"), project, owner, None)
    }

    fn new(
        url: String,
        anon_key: String,
        secret: &str,
        project: String,
        owner: String,
        backend: Option<Backend>,
    ) -> Target {
        // An error says that somebody else in this process has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().http1_only().timeout(PATIENCE).build().expect("a client");
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Target { url, anon_key, key, project, owner, http, transcript: Transcript::default(), _backend: backend }
    }

    /// Signs claims as they are.
    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    fn token(&self, who: Who) -> Option<String> {
        let agent =
            |project: &str| json!({"role": "preview_agent", "project_id": project, "session_id": "s", "exp": FAR});
        let person = |id: &str| json!({"role": "authenticated", "aud": "authenticated", "sub": id, "exp": FAR});
        let claims = match who {
            Who::Owner => person(&self.owner),
            Who::Service => json!({"role": "service_role", "exp": FAR}),
            Who::Agent => agent(&self.project),
            Who::OtherAgent => agent(OTHER),
            Who::Stranger => person(OTHER),
            Who::Anon => return None,
        };
        Some(self.sign(&claims))
    }
}

impl From<Target> for Suite {
    fn from(target: Target) -> Suite {
        let run = format!("run-{}", &uuid::Uuid::new_v4().to_string()[..8]);
        Suite { target: Arc::new(target), run, cases: AtomicUsize::new(0) }
    }
}

impl Suite {
    pub async fn scene(&self, name: &'static str) -> Scene {
        let number = self.cases.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { run: self.run.clone(), revision: 0 };
        let folder = format!("{}/{number:02}", self.run);
        let mut scene = Scene { target: self.target.clone(), name, folder, origin };
        scene.origin.revision = scene.head().await;
        scene
    }

    /// What the cases recorded, once all have ended.
    pub fn into_lines(self) -> Vec<String> {
        Arc::into_inner(self.target).expect("the cases have ended").transcript.into_lines()
    }
}

impl Scene {
    pub fn project(&self) -> &str {
        &self.target.project
    }

    pub fn url(&self) -> &str {
        &self.target.url
    }

    pub fn anon_key(&self) -> &str {
        &self.target.anon_key
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.target.http
    }

    /// A path in the case's own folder.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The head when the case began.
    pub fn base(&self) -> i64 {
        self.origin.revision
    }

    pub fn note(&self, what: Value) {
        self.target.transcript.record(self.name, &self.origin, what);
    }

    /// The bearer token; the key alone for `anon`.
    pub fn token(&self, who: Who) -> Option<String> {
        self.target.token(who)
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.target.sign(claims)
    }

    /// Calls a function and records what it was answered. A writer that is told to come back later does.
    pub async fn call(&self, who: Who, function: &str, arguments: Value) -> Answer {
        let mut answer = self.ask(who, function, &arguments).await;
        while answer.code() == "PT429" {
            let wait = answer.details()["retry_after_ms"].as_u64().expect("when to come back");
            tokio::time::sleep(Duration::from_millis(wait)).await;
            answer = self.ask(who, function, &arguments).await;
        }
        self.note(json!({"who": format!("{who:?}"), "calls": function, "with": arguments, "gets": answer.recorded()}));
        answer
    }

    /// Calls a function once, unrecorded.
    pub async fn ask(&self, who: Who, function: &str, arguments: &Value) -> Answer {
        self.send(self.token(who).as_deref(), function, arguments.to_string().into()).await
    }

    /// A call of any body, with any token or none.
    pub async fn send(&self, token: Option<&str>, function: &str, body: Vec<u8>) -> Answer {
        let url = format!("{}/rest/v1/rpc/{function}", self.url());
        let mut request =
            self.http().post(url).header("apikey", self.anon_key()).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Answer::from(request.body(body).send().await.expect("an answer")).await
    }

    /// A read with filters in the query, as the agent.
    pub async fn list_current_files(&self, filters: &[(&str, &str)]) -> Answer {
        let url = format!("{}/rest/v1/rpc/list_current_files", self.url());
        let request = self.http().post(url).query(filters).header("apikey", self.anon_key());
        let request = request.bearer_auth(self.token(Who::Agent).expect("a token"));
        let request = request.json(&json!({"project_uuid": self.project()}));
        let answer = Answer::from(request.send().await.expect("an answer")).await;
        let filters: HashMap<_, _> = filters.iter().copied().collect();
        self.note(json!({"lists": filters, "gets": answer.recorded()}));
        answer
    }

    /// The same as the owner, with the project filled in.
    pub async fn owner(&self, function: &str, arguments: Value) -> Answer {
        self.call(Who::Owner, function, self.with_project(arguments)).await
    }

    /// The same as the project's agent.
    pub async fn agent(&self, function: &str, arguments: Value) -> Answer {
        self.call(Who::Agent, function, self.with_project(arguments)).await
    }

    pub fn with_project(&self, mut arguments: Value) -> Value {
        arguments["project_uuid"] = json!(self.project());
        arguments
    }

    /// Saves a file of the case's folder as the owner; its row.
    pub async fn save(&self, name: &str, content: &str) -> Value {
        let arguments = json!({"p_file_path": self.path(name), "p_content": content, "p_file_type": "text"});
        self.owner("upsert_project_file", arguments).await.ok()
    }

    pub async fn delete(&self, name: &str) -> Value {
        self.owner("delete_project_file", json!({"p_file_path": self.path(name)})).await.ok()
    }

    /// The project's newest revision.
    pub async fn head(&self) -> i64 {
        let answer = self.ask(Who::Agent, "project_head", &json!({"project_uuid": self.project()})).await;
        answer.ok()["head_revision"].as_i64().expect("a revision")
    }

    /// Nothing was written since revision `base() + count`.
    pub async fn head_is_base_plus(&self, count: i64) {
        assert_eq!(self.head().await - self.base(), count, "revisions since the case began");
    }
}

impl Answer {
    async fn from(response: reqwest::Response) -> Answer {
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The code of a refusal; empty where there is none.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
    }

    /// What stands in `details`, which is JSON in text.
    pub fn details(&self) -> Value {
        let details = self.body["details"].as_str().unwrap_or_default();
        serde_json::from_str(details).unwrap_or_default()
    }

    /// Of a refusal the status and the code, and the details that the contract fixes.
    fn recorded(&self) -> Value {
        match (self.status, self.code()) {
            (200, _) => self.body.clone(),
            (status, "PT409" | "PT429") => json!({"status": status, "code": self.code(), "details": self.details()}),
            (status, code) => json!({"status": status, "code": code, "entry": self.details().get("entry")}),
        }
    }
}
