//! The websocket to Realtime: sends and receives frames.

mod socket;
mod upgrade;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sync_core::SocketEvent;
use sync_core::wire::ProtocolVersion;
use tokio::sync::mpsc;
use url::Url;

use crate::sync::net::Net;

/// The longest time from the first packet to the answer to the upgrade. Realtime takes 2 s to refuse one.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest message that is accepted, in bytes: the server's own limit (5,000,000) and its envelope.
pub const MAX_MESSAGE: usize = 5_000_000 + (64 << 10);
/// Messages that wait for [`Realtime::next`]. When there are more, the socket is not read. With [`MAX_MESSAGE`], 40 MB.
pub const MAX_INBOUND: usize = 8;
/// Messages that wait to be written. The agent has only a few at once: more means that the socket is stuck.
pub const MAX_OUTBOUND: usize = 64;
/// The longest time for one write.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest time for the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most that is read of the body of a refusal, in bytes.
const MAX_REFUSAL: usize = 8 << 10;

/// At most one websocket to Realtime, on a task of its own.
#[derive(Debug)]
pub struct Realtime {
    net: Net,
    base_url: Url,
    anon_key: SecretString,
    protocol: ProtocolVersion,
    socket: Option<Socket>,
}

#[derive(Debug)]
struct Socket {
    events: mpsc::Receiver<SocketEvent>,
    outbound: mpsc::Sender<String>,
    /// Why the socket cannot be used any more: reported by the next event.
    broken: Option<&'static str>,
}

impl Realtime {
    /// For Realtime of the Supabase project at `base_url`, with or without a path. Makes no connection yet.
    pub fn new(net: Net, base_url: Url, anon_key: SecretString, protocol: ProtocolVersion) -> Realtime {
        Realtime { net, base_url, anon_key, protocol, socket: None }
    }

    /// Starts to connect, and closes an older socket first. [`Realtime::next`] returns what happens. Needs a Tokio
    /// runtime.
    pub fn connect(&mut self) {
        self.disconnect();
        let (events_in, events) = mpsc::channel(MAX_INBOUND);
        let (outbound, outbound_out) = mpsc::channel(MAX_OUTBOUND);
        let upgrade = upgrade::Upgrade {
            client: self.net.upgrade_client(),
            url: self.websocket_url(),
            secrets: vec![self.anon_key.clone()],
        };
        tokio::spawn(socket::drive(upgrade, outbound_out, events_in));
        self.socket = Some(Socket { events, outbound, broken: None });
    }

    /// Sends a text frame. Without a socket the frame is lost.
    pub fn send(&mut self, text: String) {
        let Some(socket) = &mut self.socket else { return };
        match socket.outbound.try_send(text) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => socket.broken = Some("the server accepts no more messages"),
            // The task has ended; its last event follows.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Closes the socket. A close frame is sent in the background; no more events come from the socket.
    pub fn disconnect(&mut self) {
        // The task ends when its channels do.
        self.socket = None;
    }

    /// The next event; pending while there is no socket. Cancel safe.
    pub async fn next(&mut self) -> SocketEvent {
        let Some(socket) = &mut self.socket else { return std::future::pending().await };
        let event = match socket.broken {
            Some(why) => SocketEvent::Failed(why.into()),
            None => socket.events.recv().await.unwrap_or_else(|| SocketEvent::Failed("the socket is gone".into())),
        };
        if matches!(event, SocketEvent::Refused { .. } | SocketEvent::Failed(_) | SocketEvent::Closed { .. }) {
            self.socket = None;
        }
        event
    }

    /// The URL with http or https, since the upgrade is an HTTP request. It has the key.
    fn websocket_url(&self) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}/realtime/v1/websocket", self.base_url.path().trim_end_matches('/')));
        url.query_pairs_mut()
            .clear()
            .append_pair("apikey", self.anon_key.expose_secret())
            .append_pair("vsn", self.protocol.vsn());
        url.set_fragment(None);
        url
    }
}
