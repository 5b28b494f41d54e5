use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Upgraded;
use sync_core::SocketEvent;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::upgrade::Upgrade;
use super::{CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT, WRITE_TIMEOUT};

/// The close code for a close frame without a code (RFC 6455, section 7.4.1).
const NO_STATUS: u16 = 1005;
/// The close code for a connection that ended without a close frame.
const ABNORMAL: u16 = 1006;

type Incoming = SplitStream<WebSocketStream<Upgraded>>;
type Outgoing = SplitSink<WebSocketStream<Upgraded>, Message>;

/// Opens the socket and transfers messages until it ends, or until the receiver of the events is dropped.
pub(super) async fn drive(upgrade: Upgrade, outbound: mpsc::Receiver<String>, events: mpsc::Sender<SocketEvent>) {
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE_TIMEOUT, upgrade.open()) => opened,
        () = events.closed() => return,
    };
    let last = match opened {
        Err(_) => SocketEvent::Failed(format!("no answer to the upgrade within {} s", HANDSHAKE_TIMEOUT.as_secs())),
        Ok(Err(refusal)) => refusal,
        Ok(Ok(socket)) => transfer(socket, outbound, &events).await,
    };
    // The receiver may have been dropped meanwhile.
    let _ = events.send(last).await;
}

async fn transfer(
    socket: WebSocketStream<Upgraded>,
    outbound: mpsc::Receiver<String>,
    events: &mpsc::Sender<SocketEvent>,
) -> SocketEvent {
    let (mut outgoing, mut incoming) = socket.split();
    // Reading and writing do not wait for each other: heartbeats are sent while received messages wait for the agent.
    tokio::select! {
        end = read(&mut incoming, events) => {
            if matches!(end, SocketEvent::Closed { .. }) {
                // The answer to the close frame. The peer may have gone already.
                let _ = timeout(CLOSE_TIMEOUT, outgoing.flush()).await;
            }
            end
        }
        end = write(&mut outgoing, outbound) => end,
    }
}

/// Passes received messages on. The library answers pings at the next poll.
async fn read(incoming: &mut Incoming, events: &mpsc::Sender<SocketEvent>) -> SocketEvent {
    let mut event = SocketEvent::Opened;
    loop {
        if events.send(event).await.is_err() {
            // Disconnected: the writer sends the close frame.
            return std::future::pending().await;
        }
        event = loop {
            match incoming.next().await {
                Some(Ok(Message::Text(text))) => break SocketEvent::Text(Bytes::from(text)),
                Some(Ok(Message::Binary(bytes))) => break SocketEvent::Binary(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    return match frame {
                        Some(frame) => {
                            SocketEvent::Closed { code: frame.code.into(), reason: frame.reason.as_str().to_owned() }
                        }
                        None => SocketEvent::Closed { code: NO_STATUS, reason: String::new() },
                    };
                }
                Some(Err(error)) => return ended(&error),
                None => return SocketEvent::Closed { code: ABNORMAL, reason: "the connection ended".into() },
            }
        };
    }
}

async fn write(outgoing: &mut Outgoing, mut outbound: mpsc::Receiver<String>) -> SocketEvent {
    while let Some(text) = outbound.recv().await {
        match timeout(WRITE_TIMEOUT, outgoing.send(Message::text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return ended(&error),
            Err(_) => return SocketEvent::Failed(format!("a write took longer than {} s", WRITE_TIMEOUT.as_secs())),
        }
    }
    // Disconnected. The peer may have gone already.
    let _ = timeout(CLOSE_TIMEOUT, outgoing.close()).await;
    SocketEvent::Failed("disconnected".into())
}

fn ended(error: &Error) -> SocketEvent {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            SocketEvent::Closed { code: ABNORMAL, reason: error.to_string() }
        }
        error => SocketEvent::Failed(error.to_string()),
    }
}
