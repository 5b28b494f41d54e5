//! Replays what was recorded from the real server: same answers, same shapes, same order on each connection. Only
//! identifiers, times and counted seconds may differ.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::support::{Client, PATIENCE, PROJECT, options};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use local_backend::{Backend, BackendOptions, ChannelRights, Cut, FaultRate, FileContent, Visibility};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// One test for each recording.
macro_rules! recordings {
    ($($name:ident: $file:literal,)*) => {
        $(#[tokio::test]
        async fn $name() {
            replay($file, recorded()).await;
        })*
    };
}

recordings! {
    connecting: "01-connect",
    joining_in_protocol_1: "02-join-v1",
    joining_in_protocol_2: "02-join-v2",
    broadcasts_of_clients: "03-broadcast",
    broadcasts_by_http: "03b-rest-broadcast",
    broadcasts_of_the_database: "04-db-broadcast",
    past_broadcasts: "05-replay",
    rows_of_the_table: "06-postgres-changes",
    expiring_and_pushed_tokens: "08-token",
    errors: "09a-errors",
    a_killed_server: "09d-server-sigkill",
    a_stopped_server: "09d-server-sigterm",
    odd_frames: "12b-v1-odd",
    a_reloaded_tenant: "12d-tenant-reload",
    the_official_client_in_protocol_1: "13-realtime-js-v1",
    the_official_client_in_protocol_2: "13-realtime-js-v2",
    a_refused_sender: "14a-no-insert-policy",
    the_agents_own_role: "20-custom-role",
}

#[tokio::test]
async fn silence() {
    replay("07-heartbeat", BackendOptions { silence_limit: Duration::from_secs(2), ..recorded() }).await;
}

/// The options of the recorded server, whose policies let the editor send.
fn recorded() -> BackendOptions {
    BackendOptions { channel_rights: ChannelRights::EditorSends, ..options() }
}

struct Replay {
    backend: Backend,
    tokens: HashMap<&'static str, String>,
    clients: HashMap<String, (Client, bool)>,
}

async fn replay(file: &str, options: BackendOptions) {
    let backend = Backend::start(options).await.expect("the backend starts");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fixtures/realtime/{file}.jsonl"));
    let text = std::fs::read_to_string(path).expect("the recording is there");
    let tokens = minted(&backend);
    let mut replay = Replay { backend, tokens, clients: HashMap::new() };
    let mut compared = 0;
    for (number, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        compared += replay.step(&line, &format!("{file}:{}", number + 1)).await;
    }
    for (name, (mut client, v2)) in std::mem::take(&mut replay.clients) {
        expect_nothing_more(&mut client, v2, &name).await;
    }
    println!("{file}: {compared} answers compared");
    assert!(compared > 0, "{file} compares nothing");
    replay.backend.stop().await;
}

impl Replay {
    /// Plays one line and returns how many answers it compared.
    async fn step(&mut self, line: &Value, at: &str) -> usize {
        let frame = &line["frame"];
        let name = line["c"].as_str().unwrap_or_default();
        match line["dir"].as_str() {
            Some("*") => self.act(&line["do"]).await,
            Some(">") => {
                let message = match (frame["binary_hex"].as_str(), frame.as_str()) {
                    (Some(hex), _) => Message::binary(bytes(hex)),
                    (None, Some(text)) => Message::text(text),
                    (None, None) => Message::text(self.fill(&frame.to_string())),
                };
                let client = &mut self.clients.get_mut(name).expect("connected").0;
                futures_util::SinkExt::send(&mut client.0, message).await.expect("sent");
            }
            Some("<") => {
                let client = &mut self.clients.get_mut(name).expect("connected").0;
                let got = client.message_within(PATIENCE).await.unwrap_or_else(|| panic!("{at}: no answer"));
                let expected = match frame["binary_hex"].as_str() {
                    Some(hex) => Message::binary(bytes(hex)),
                    None => Message::text(frame.to_string()),
                };
                assert_eq!(comparable(&got), comparable(&expected), "{at} {name}");
                return 1;
            }
            Some("!") => return self.socket(name, line, at).await,
            _ => panic!("{at}: {line}"),
        }
        0
    }

    async fn socket(&mut self, name: &str, line: &Value, at: &str) -> usize {
        let frame = &line["frame"];
        if let Some(query) = frame.as_str().and_then(|frame| frame.strip_prefix("connect ?")) {
            let headers = line["headers"].as_object().cloned().unwrap_or_default();
            let headers = headers.iter().map(|(name, value)| {
                let value = HeaderValue::from_str(&self.fill(value.as_str().unwrap_or_default()));
                (name.clone(), value.expect("a header"))
            });
            let opened = Client::open(&self.backend, &self.fill(query), headers.collect()).await;
            match opened {
                Ok(client) => {
                    self.clients.insert(name.into(), (client, query.contains("vsn=2.0.0")));
                }
                Err(Error::Http(response)) => {
                    let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                    self.tokens
                        .insert("refusal", json!({"http": response.status().as_u16(), "body": body}).to_string());
                }
                Err(error) => panic!("{at}: {error}"),
            }
            return 0;
        }
        if frame["http"].is_number() {
            let refusal = self.tokens.remove("refusal").expect("the upgrade was refused");
            assert_eq!(serde_json::from_str::<Value>(&refusal).ok().as_ref(), Some(frame), "{at}");
            return 1;
        }
        let (mut client, v2) = self.clients.remove(name).expect("connected");
        if line["by"] == "server" {
            assert_eq!(json!(client.closed().await), frame["close"], "{at} {name}");
            return 1;
        }
        expect_nothing_more(&mut client, v2, at).await;
        0
    }

    async fn act(&mut self, action: &Value) {
        let (send, http, save) = (&action["send"], &action["http"], &action["save"]);
        if send.is_object() {
            let visibility = if send["private"] == true { Visibility::Private } else { Visibility::Public };
            self.backend.broadcast(send["event"].as_str().unwrap_or_default(), send["payload"].clone(), visibility);
        } else if http.is_object() {
            let mut message = http.clone();
            message["topic"] = json!(format!("project:{PROJECT}"));
            let url = format!("{}/realtime/v1/api/broadcast", self.backend.url());
            let request = crate::support::http().post(url).header("apikey", &self.tokens["anon"]);
            let request = request.bearer_auth(&self.tokens["service"]).json(&json!({"messages": [message]}));
            assert_eq!(request.send().await.expect("an answer").status(), 202);
        } else if save.is_object() {
            // The recorded table had no trigger that broadcasts.
            self.backend.faults().drop_broadcasts(FaultRate::next(1));
            let content = FileContent::Text(save["content"].as_str().unwrap_or_default().into());
            self.backend
                .store()
                .upsert(save["path"].as_str().unwrap_or_default(), content, None, "test")
                .expect("saved");
        } else if let Ok(cut) = serde_json::from_value::<Cut>(action["cut"].clone()) {
            self.backend.faults().cut(cut);
        }
    }

    fn fill(&self, text: &str) -> String {
        self.tokens.iter().fold(text.into(), |text, (name, token)| text.replace(&format!("<{name}>"), token))
    }
}

/// Whatever had been sent stands before the answer to this heartbeat.
async fn expect_nothing_more(client: &mut Client, v2: bool, at: &str) {
    let beat = match v2 {
        true => json!([null, "end", "phoenix", "heartbeat", {}]),
        false => json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "end"}),
    };
    client.send(beat).await;
    let reply = client.next_message().await.to_string();
    assert!(reply.contains("\"end\""), "{at}: not in the recording: {reply}");
}

fn minted(backend: &Backend) -> HashMap<&'static str, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let editor = backend.editor_token();
    let claims = editor.split('.').nth(1).map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64"));
    let claims: Value = serde_json::from_slice(&claims.expect("three parts")).expect("claims");
    let sub = &claims["sub"];
    let good = backend.sign(&json!({"role": "authenticated", "sub": sub, "exp": now + 900}));
    let (signed, tag) = good.rsplit_once('.').expect("a tag");
    let other = if tag.starts_with('A') { "B" } else { "A" };
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    HashMap::from([
        ("anon", backend.agent_settings().anon_key),
        ("forged", format!("{signed}.{other}{}", &tag[1..])),
        ("alg-none", format!("{none}.{}.", signed.split('.').nth(1).expect("claims"))),
        ("editor", editor),
        ("editor2", good),
        ("short", backend.sign(&json!({"role": "authenticated", "sub": sub, "exp": now + 3}))),
        ("expired", backend.sign(&json!({"role": "authenticated", "sub": sub, "exp": now - 5}))),
        ("stranger", backend.sign(&json!({"role": "authenticated", "sub": "somebody", "exp": now + 900}))),
        ("service", backend.sign(&json!({"role": "service_role", "exp": now + 900}))),
        ("agent", backend.agent_settings().realtime_token),
        ("no-role", backend.sign(&json!({"sub": sub, "exp": now + 900}))),
        ("no-exp", backend.sign(&json!({"role": "authenticated", "sub": sub}))),
        ("no-such-role", backend.sign(&json!({"role": "nobody", "exp": now + 900}))),
    ])
}

/// A frame without what cannot be equal. Binary ones are taken apart.
fn comparable(message: &Message) -> Value {
    match message {
        Message::Text(text) => without_random_values(serde_json::from_str(text).expect("a frame is JSON")),
        Message::Binary(bytes) => {
            let [kind, topic, event, meta, encoding] = <[u8; 5]>::try_from(&bytes[..5]).expect("a head");
            let mut at = 5;
            let mut part = |len: u8| {
                let part = String::from_utf8_lossy(&bytes[at..at + usize::from(len)]).into_owned();
                at += usize::from(len);
                part
            };
            let (topic, event, meta) = (part(topic), part(event), part(meta));
            let meta: Value = serde_json::from_str(&meta).unwrap_or(Value::Null);
            let body = match encoding {
                1 => serde_json::from_slice(&bytes[at..]).expect("the payload is JSON"),
                _ => json!(bytes[at..].to_vec()),
            };
            let whole = json!({"kind": kind, "topic": topic, "event": event, "meta": meta, "body": body});
            without_random_values(json!({"binary": whole, "encoding": encoding}))
        }
        other => json!(format!("{other:?}")),
    }
}

fn without_random_values(value: Value) -> Value {
    match value {
        // Later versions of the server add this reason to `phx_error`.
        Value::Object(fields) if json!(fields) == json!({"reason": "channel_crash"}) => json!({}),
        Value::Object(fields) => {
            let field = |(key, value): (String, Value)| {
                let value = match key.as_str() {
                    "phx_ref" | "ids" | "record" | "columns" | "commit_timestamp" => json!(format!("<{key}>")),
                    "id" if value.is_number() => json!("<number>"),
                    _ => without_random_values(value),
                };
                (key, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => items.into_iter().map(without_random_values).collect(),
        Value::String(text) if uuid::Uuid::parse_str(&text).is_ok() => json!("<uuid>"),
        Value::String(text) if text.contains("Token has expired ") => {
            json!(text.chars().filter(|char| !char.is_ascii_digit()).collect::<String>())
        }
        other => other,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(digits).collect()
}
