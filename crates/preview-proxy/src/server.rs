//! The thread that the proxy runs on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::events::Source;
use crate::forward::Forwarder;
use crate::inject::Scripts;
use crate::page_script::PageScript;
use crate::pool::Pool;
use crate::reports::Reports;
use crate::service::{Clients, Shared};
use crate::{Lines, Settings, View};

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves the preview on `listener` from a thread of its own: what `view` says, or the dev server where it names one.
/// `lines` is called from that thread.
///
/// # Errors
/// The thread or its runtime cannot be started.
pub fn start(
    listener: std::net::TcpListener,
    settings: Settings,
    view: watch::Receiver<View>,
    lines: Lines,
) -> io::Result<Proxy> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("preview-proxy".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Err(error) = serve(listener, settings, Source { view, lines }, stopped).await {
                error!(event_type = "preview_proxy_failed", %error, "the preview proxy ended: {error}");
            }
        });
        // Websockets that are still open end here.
        runtime.shutdown_background();
    })?;
    Ok(Proxy { address, stop: Some(stop), thread: Some(thread) })
}

impl Proxy {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has said why, where it ended by a panic.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    settings: Settings,
    source: Source,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let pool = Arc::new(Pool::default());
    let limits = settings.limits.clone();
    let sweep = {
        let (pool, limits) = (pool.clone(), limits.clone());
        async move {
            let mut every = interval(limits.pool_time);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                pool.close_idle(&limits);
            }
        }
    };
    let reports = settings.reports.clone().map(Reports::new);
    let first = reports.is_some().then(|| PageScript::new(&settings.frame_ancestors));
    let scripts = Scripts { first, last: settings.script.clone() };
    let forwarder = Forwarder { pool, settings: Arc::new(settings), scripts };
    let shared = Arc::new(Shared { forwarder, source, reports, has_answered: AtomicBool::new(false) });
    let stop = async {
        // An error means that the handle was dropped, which is the way to end it.
        let _ = stopped.await;
    };
    tokio::select! {
        () = listener::serve(listener, Clients(shared), limits.server, stop) => {}
        () = sweep => {}
    }
    Ok(())
}
