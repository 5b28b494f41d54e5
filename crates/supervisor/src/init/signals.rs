use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A signal that asks the agent to end: the first drains, a second one hurries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shutdown {
    Term,
    Int,
    Quit,
}

impl Shutdown {
    /// The signal's number; the exit status is 128 plus this.
    pub fn number(self) -> i32 {
        match self {
            Shutdown::Term => SignalKind::terminate(),
            Shutdown::Int => SignalKind::interrupt(),
            Shutdown::Quit => SignalKind::quit(),
        }
        .as_raw_value()
    }

    /// `SIGTERM` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Shutdown::Term => "SIGTERM",
            Shutdown::Int => "SIGINT",
            Shutdown::Quit => "SIGQUIT",
        }
    }
}

/// The signals that ask for an end, in the order they come.
#[derive(Debug, Clone)]
pub struct Signals {
    received: watch::Receiver<(u64, Option<Shutdown>)>,
    seen: u64,
}

impl Signals {
    /// Handlers for TERM, INT, QUIT, and one for HUP that does nothing, so that a closed terminal ends nobody.
    pub(super) fn listen() -> io::Result<Signals> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        drop(signal(SignalKind::hangup())?);
        let (sender, received) = watch::channel((0, None));
        tokio::spawn(async move {
            while let Some(got) = any(&mut term, &mut int, &mut quit).await {
                tracing::info!(signal = got.name(), "signal received");
                sender.send_modify(|(count, last)| (*count, *last) = (*count + 1, Some(got)));
            }
        });
        Ok(Signals { received, seen: 0 })
    }

    /// The next signal. Several that came before anyone asked are one. May be dropped halfway without loss.
    pub async fn next(&mut self) -> Shutdown {
        let seen = self.seen;
        match self.received.wait_for(|(count, _)| *count > seen).await.map(|now| *now) {
            Ok((count, Some(last))) => {
                self.seen = count;
                last
            }
            // The runtime is going down, and this task with it.
            Ok((_, None)) | Err(_) => std::future::pending().await,
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
