//! The preview in the console's frame: a script in its pages tells the console when the page has changed. The console
//! cannot see this itself, because the page has another origin. The preview's own proxy adds the script; where it is off, a
//! proxy for the console does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use preview_proxy::{Hosts, Proxy, Settings, Stage, Upstream, View};
use tokio::sync::watch;

/// The preview frame script: posts the time of the first animation frame after a change.
pub const FRAME_SCRIPT: &str = "<script>(() => {
  if (parent === window) return
  let asked = false
  const tell = () => { asked = false; parent.postMessage({ painted: Date.now() }, '*') }
  const changed = () => { if (!asked) { asked = true; requestAnimationFrame(() => setTimeout(tell)) } }
  new MutationObserver(changed).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
  addEventListener('load', changed, true)
})()</script>";

/// A running proxy for the console alone. It ends when it is dropped.
pub struct PreviewFrame {
    proxy: Proxy,
    _view: watch::Sender<View>,
}

impl PreviewFrame {
    /// Starts it on a free loopback port, for a dev server on `port` of the loopback.
    ///
    /// # Errors
    /// No port can be bound, or no thread can be started.
    pub fn start(port: u16) -> io::Result<PreviewFrame> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let settings = Settings { hosts: Hosts::loopback(), script: Some(FRAME_SCRIPT.into()), ..Settings::open() };
        let (sender, view) = watch::channel(View {
            phase: "serving",
            stage: Stage::StartingServer,
            reasons: Vec::new(),
            detail: None,
            progress: None,
            upstream: Some(Upstream { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tls: None }),
        });
        let proxy = preview_proxy::start(listener, settings, view, Arc::new(|_| Vec::new()))?;
        Ok(PreviewFrame { proxy, _view: sender })
    }

    /// Where its pages are.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.proxy.address().port())
    }
}
