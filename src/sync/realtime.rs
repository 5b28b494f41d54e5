//! The websocket: frames in and out.

mod socket;
mod upgrade;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sync_core::SocketEvent;
use sync_core::wire::ProtocolVersion;
use tokio::sync::mpsc;
use url::Url;

use crate::sync::net::Net;

/// From the first packet to the answered upgrade. Realtime takes 2 s to refuse one.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest message taken, in bytes: what the server itself takes (5,000,000), and room for its envelope.
pub const MAX_MESSAGE: usize = 5_000_000 + (64 << 10);
/// Messages read and not yet taken by [`Realtime::next`]; then the server has to wait. With [`MAX_MESSAGE`], 40 MB.
pub const MAX_INBOUND: usize = 8;
/// Messages not yet written. The agent has but a few in flight: more means that the socket is stuck.
pub const MAX_OUTBOUND: usize = 64;
/// How long one write may take.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Of the body of a refusal, in bytes.
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
    /// It is no longer of use: said by the next event.
    broken: Option<&'static str>,
}

impl Realtime {
    /// For the Realtime of the Supabase at `base_url`, with or without a path. Connects to nothing yet.
    pub fn new(net: Net, base_url: Url, anon_key: SecretString, protocol: ProtocolVersion) -> Realtime {
        Realtime { net, base_url, anon_key, protocol, socket: None }
    }

    /// Begins to connect; an older socket is closed first. What becomes of it is told by [`Realtime::next`]. Needs a
    /// Tokio runtime.
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

    /// Sends a text frame. Without a socket it is lost, as it would be on the way.
    pub fn send(&mut self, text: String) {
        let Some(socket) = &mut self.socket else { return };
        match socket.outbound.try_send(text) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => socket.broken = Some("the server takes no more messages"),
            // The task is at its end, and its last event on the way.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Closes the socket, with a goodbye that nobody waits for. Nothing more comes from it.
    pub fn disconnect(&mut self) {
        // The task sees both its channels end.
        self.socket = None;
    }

    /// What happened next; pending for as long as there is no socket. May be dropped halfway without loss.
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

    /// With http and https, since the upgrade is an HTTP request. Holds the key.
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
