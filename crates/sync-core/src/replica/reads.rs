use super::{Purpose, Replica};
use crate::cx::{Cx, Signal};
use crate::{Answer, ReadError, ReadId};

impl Replica {
    /// A read ended.
    pub fn on_read(&mut self, cx: &mut Cx, id: ReadId, result: Result<Answer, ReadError>) {
        let Some((purpose, sent)) = self.reads.remove(&id) else {
            if let Ok(Answer::Staged(stage)) = result {
                cx.outputs.push_back(crate::Output::Discard(stage));
            }
            return cx.skipped("unknown_read");
        };
        if let Err(ReadError::Unauthorized(_)) = &result {
            // A read that was sent with the token before this one is merely asked again.
            if sent >= self.token_since {
                cx.signal(Signal::TokenNeeded);
            }
        }
        match purpose {
            Purpose::CatchUp => self.on_page(cx, id, result),
            Purpose::Head { known } => self.on_head(cx, known, result),
            Purpose::Fetch(fetch) => self.on_fetched(cx, id, fetch, result),
        }
        self.pump(cx);
    }
}

/// The error in words, and the server's wish when to come again.
pub(super) fn describe(error: ReadError) -> (String, Option<std::time::Duration>) {
    match error {
        ReadError::NoSuchFunction => ("the database has no such function".into(), None),
        ReadError::Gone => ("it is gone".into(), None),
        ReadError::Unauthorized(error) => (format!("unauthorized: {error}"), None),
        ReadError::Forbidden(error) => (format!("forbidden: {error}"), None),
        ReadError::WrongHash { got } => (format!("the bytes hash to {got}"), None),
        ReadError::Unavailable { error, retry_after } => (error, retry_after),
        ReadError::Unusable(error) => (format!("unusable answer: {error}"), None),
    }
}
