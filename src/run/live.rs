//! The connection to the database while the agent runs: channel, reads and renewals.

use std::sync::Arc;

use sync_core::wire::ClientMessage;
use sync_core::{Answer, Input, NewToken, Read, ReadError, ReadId, Renewal, RenewalError};
use tokio::task::{JoinHandle, JoinSet};

use crate::sync::database::{Database, Renewer};
use crate::sync::realtime::Realtime;
use crate::sync::token::TokenCell;

/// What exists only where the agent has a database and a token for it.
pub(super) struct Live {
    realtime: Realtime,
    token: TokenCell,
    database: Arc<Database>,
    reads: JoinSet<(ReadId, Result<Answer, ReadError>)>,
    renewals: Renewals,
}

/// The state of the token's renewal.
enum Renewals {
    /// There is no SESSION_URL.
    Off,
    Idle(Arc<Renewer>),
    Running(Arc<Renewer>, JoinHandle<Result<Renewal, RenewalError>>),
}

impl Live {
    pub(super) fn new(
        realtime: Realtime,
        token: TokenCell,
        database: Arc<Database>,
        renewer: Option<Arc<Renewer>>,
    ) -> Live {
        let renewals = renewer.map_or(Renewals::Off, Renewals::Idle);
        Live { realtime, token, database, reads: JoinSet::new(), renewals }
    }

    /// Reads in the background; [`next`] gives the answer.
    pub(super) fn read(&mut self, id: ReadId, read: Read) {
        let database = self.database.clone();
        self.reads.spawn(async move { (id, database.read(read).await) });
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.reads.is_empty()
    }

    pub(super) fn connect(&mut self) {
        self.realtime.connect();
    }

    pub(super) fn disconnect(&mut self) {
        self.realtime.disconnect();
    }

    pub(super) fn send(&mut self, message: &ClientMessage) {
        self.realtime.send(message.encode(self.token.current().expose()));
    }

    /// Renews the token in the background; [`next`] gives the answer. The core asks for one renewal at a time.
    pub(super) fn renew(&mut self) {
        let (Renewals::Idle(renewer) | Renewals::Running(renewer, _)) = &self.renewals else { return };
        let renewer = renewer.clone();
        let task = tokio::spawn({
            let renewer = renewer.clone();
            async move {
                let renewed = renewer.renew_token().await?;
                let token = renewed.token.map(|token| NewToken { lifetime: token.lifetime() });
                Ok(Renewal { token })
            }
        });
        self.renewals = Renewals::Running(renewer, task);
    }

    /// Cancel safe. The order is random, so that no source keeps another from its turn.
    async fn next(&mut self) -> Input {
        tokio::select! {
            event = self.realtime.next() => Input::Socket(event),
            Some(read) = self.reads.join_next() => {
                let (id, answer) = propagate_panic(read);
                Input::Read(id, answer)
            }
            renewed = self.renewals.next() => Input::Renewed(renewed),
        }
    }
}

impl Renewals {
    async fn next(&mut self) -> Result<Renewal, RenewalError> {
        let Renewals::Running(renewer, task) = self else { return std::future::pending().await };
        let renewed = propagate_panic(task.await);
        *self = Renewals::Idle(renewer.clone());
        renewed
    }
}

/// The next input from the database. Without one it never comes.
pub(super) async fn next(live: &mut Option<Live>) -> Input {
    match live {
        Some(live) => live.next().await,
        None => std::future::pending().await,
    }
}

/// A panic of a background task is one of the agent.
pub(super) fn propagate_panic<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    joined.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
