//! The HMR channel of Vite: tells when Vite has seen a change.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::client::{AskFor, DevServerClient};

/// Messages that wait to be read; when there are more, the socket is not read.
const MAX_WAITING: usize = 64;
/// Waits between two attempts to connect.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// What the channel reports.
#[derive(Debug)]
pub(super) enum HotMessage {
    /// It is open, for the first time or again.
    Connected,
    /// It cannot be opened, or has ended. It is tried again.
    Lost,
    /// Modules are to be loaded again: their addresses.
    Update(Vec<String>),
    /// Pages are to be loaded again.
    Reload,
    /// A module cannot be transformed.
    Error(Value),
}

/// Follows the channel of the Vite that serves below `base` until the receiver is dropped.
pub(super) fn follow(client: DevServerClient, base: String) -> mpsc::Receiver<HotMessage> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let mut failures = 0_usize;
        loop {
            let opened = tokio::select! {
                opened = connect(&client, &base) => opened,
                () = sender.closed() => return,
            };
            if let Ok(mut socket) = opened {
                failures = 0;
                while let Some(Ok(message)) = tokio::select! {
                    message = socket.next() => message,
                    () = sender.closed() => return,
                } {
                    let Message::Text(text) = message else { continue };
                    if let Some(message) = read(&text)
                        && sender.send(message).await.is_err()
                    {
                        return;
                    }
                }
            }
            if sender.send(HotMessage::Lost).await.is_err() {
                return;
            }
            sleep(*RETRIES.get(failures).unwrap_or(&Duration::from_secs(5))).await;
            failures = failures.saturating_add(1);
        }
    });
    receiver
}

async fn connect(
    client: &DevServerClient,
    base: &str,
) -> Result<tokio_tungstenite::WebSocketStream<reqwest::Upgraded>, String> {
    let script = client.get(&format!("{base}@vite/client"), AskFor::Module).await?.body;
    let token = constant(&script, "wsToken").unwrap_or_default().trim_matches('"');
    let port = constant(&script, "hmrPort").and_then(|port| port.parse().ok());
    client.open_hot_channel(port, &format!("{base}?token={token}")).await
}

/// The value of `const name = value;` in Vite's client.
fn constant<'a>(script: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = script.split_once(&format!("const {name} = "))?;
    rest.split(';').next().map(str::trim)
}

fn read(text: &str) -> Option<HotMessage> {
    let message: Value = serde_json::from_str(text).ok()?;
    match message.get("type")?.as_str()? {
        "connected" => Some(HotMessage::Connected),
        "update" => {
            let updates = message.get("updates")?.as_array()?;
            let addresses = updates.iter().filter_map(|update| Some(update.get("path")?.as_str()?.to_owned()));
            Some(HotMessage::Update(addresses.collect()))
        }
        "full-reload" => Some(HotMessage::Reload),
        "error" => Some(HotMessage::Error(message.get("err")?.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_vites_client_are_read() {
        let script = "const hmrPort = null;\nconst wsToken = \"a-b_c\";\n";
        assert_eq!(constant(script, "wsToken"), Some("\"a-b_c\""));
        assert_eq!(constant(script, "hmrPort"), Some("null"));
        assert_eq!(constant(script, "other"), None);
    }

    #[test]
    fn messages_are_read() {
        let update =
            r#"{"type":"update","updates":[{"type":"js-update","path":"/src/a.js","acceptedPath":"/src/b.js"}]}"#;
        assert!(matches!(read(update), Some(HotMessage::Update(paths)) if paths == ["/src/a.js"]));
        assert!(matches!(read(r#"{"type":"full-reload","path":"*"}"#), Some(HotMessage::Reload)));
        assert!(matches!(read(r#"{"type":"error","err":{"message":"x"}}"#), Some(HotMessage::Error(_))));
        assert!(read(r#"{"type":"custom","event":"x"}"#).is_none() && read("no JSON").is_none());
    }
}
