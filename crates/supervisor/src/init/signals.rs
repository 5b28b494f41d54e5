use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A signal that asks the agent to end. The first one ends it in order, a second one without grace periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the signals")]
pub enum Shutdown {
    Term,
    Int,
    Quit,
}

impl Shutdown {
    /// The signal's number. The agent's exit status is 128 plus this.
    pub fn number(self) -> i32 {
        match self {
            Shutdown::Term => SignalKind::terminate(),
            Shutdown::Int => SignalKind::interrupt(),
            Shutdown::Quit => SignalKind::quit(),
        }
        .as_raw_value()
    }

    /// The signal's name, for example `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Shutdown::Term => "SIGTERM",
            Shutdown::Int => "SIGINT",
            Shutdown::Quit => "SIGQUIT",
        }
    }
}

/// The signals that ask the agent to end, in the order in which they come.
#[derive(Debug, Clone)]
pub struct Signals {
    received: watch::Receiver<Received>,
    seen: u64,
}

/// Signals that came so far.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    count: u64,
    last: Option<Shutdown>,
}

impl Signals {
    /// Installs handlers for TERM, INT and QUIT, and one for HUP that does nothing: a closed terminal does not end the
    /// agent.
    pub(super) fn listen() -> io::Result<Signals> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        drop(signal(SignalKind::hangup())?);
        let (sender, received) = watch::channel(Received::default());
        tokio::spawn(async move {
            while let Some(got) = any(&mut term, &mut int, &mut quit).await {
                tracing::info!(signal = got.name(), "signal received");
                sender.send_modify(|received| {
                    *received = Received { count: received.count.saturating_add(1), last: Some(got) };
                });
            }
        });
        Ok(Signals { received, seen: 0 })
    }

    /// The next signal. Several that came before this call count as one. Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Shutdown {
        let seen = self.seen;
        match self.received.wait_for(|received| received.count > seen).await.map(|received| *received) {
            Ok(Received { count, last: Some(last) }) => {
                self.seen = count;
                last
            }
            // The runtime ends, and this task with it.
            Ok(Received { last: None, .. }) | Err(_) => std::future::pending().await,
        }
    }
}

async fn any(term: &mut Signal, int: &mut Signal, quit: &mut Signal) -> Option<Shutdown> {
    tokio::select! {
        got = term.recv() => got.map(|()| Shutdown::Term),
        got = int.recv() => got.map(|()| Shutdown::Int),
        got = quit.recv() => got.map(|()| Shutdown::Quit),
    }
}
