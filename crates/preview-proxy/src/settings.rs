use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use diagnostics::PageReport;
use tokio::sync::{broadcast, mpsc};

use crate::{AccessToken, FrameAncestors, Hosts};

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host names that requests may carry.
    pub hosts: Hosts,
    /// Where set, only who has it gets the preview.
    pub access: Option<AccessToken>,
    /// Who may show the preview in a frame.
    pub frame_ancestors: FrameAncestors,
    /// A script element that is added to the end of each HTML document.
    pub script: Option<Bytes>,
    /// Where reports of pages go. Where set, each HTML document gets a script that reports what goes wrong in it. While it
    /// is full, errors are counted only: [`PageReport::omitted`] of a later report.
    pub reports: Option<mpsc::Sender<PageReport>>,
    /// JSON objects that pages in a frame post to their parent window, with `source` added; see `docs/protocol.md`.
    pub notices: Option<broadcast::Sender<Arc<str>>>,
    /// Bounds.
    pub limits: Limits,
}

impl Settings {
    /// Open to every host and every frame.
    pub fn open() -> Settings {
        Settings {
            hosts: Hosts::any(),
            access: None,
            frame_ancestors: FrameAncestors::default(),
            script: None,
            reports: None,
            notices: None,
            limits: Limits::default(),
        }
    }
}

/// Bounds of the proxy. Tests shorten them; nothing else changes them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of the server that clients connect to.
    pub server: listener::Limits,
    /// How long a navigation waits for a dev server that has answered before.
    pub page_wait: Duration,
    /// How long any other request waits for the dev server.
    pub request_wait: Duration,
    /// From a request to the head of the dev server's answer. Some compile a whole application first.
    pub answer_time: Duration,
    /// Bytes of the head of the dev server's answer.
    pub answer_head_bytes: usize,
    /// How long a connection to the dev server is kept for the next request. Node closes idle ones after 5 s.
    pub pool_time: Duration,
    /// Idle connections kept to the dev server.
    pub pool_size: usize,
}

/// Connections from clients at once. 1,000 open websockets fit, and twice as many files stay below common limits.
const CONNECTIONS: usize = 2048;
/// Long enough for most restarts of a dev server, short enough that a person does not take the tab for dead.
const PAGE_WAIT: Duration = Duration::from_secs(3);
/// Below the time after which browsers' fetches and health checks are commonly given up.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Frameworks may compile a whole application for the first request; more than this is a hang.
const ANSWER_TIME: Duration = Duration::from_secs(180);
/// Part of the files that this process may open (one in so many) that clients' connections may take. Each can need two.
const FILES_SHARE: usize = 4;

impl Default for Limits {
    fn default() -> Limits {
        let connections = CONNECTIONS.min(listener::open_files_limit() / FILES_SHARE);
        Limits {
            server: listener::Limits { connections, loopback_connections: connections / 16, ..Default::default() },
            page_wait: PAGE_WAIT,
            request_wait: REQUEST_WAIT,
            answer_time: ANSWER_TIME,
            answer_head_bytes: 256 << 10,
            pool_time: Duration::from_secs(3),
            pool_size: 64,
        }
    }
}
