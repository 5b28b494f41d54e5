//! The requests to the dev server that run or wait.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::client::{Answer, AskFor, DevServerClient};
use crate::run::live::propagate_panic;

/// Requests at a time: a browser has six connections to one server.
const MAX_AT_ONCE: usize = 6;

/// An address, and what was answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) address: String,
    pub(super) what: AskFor,
    pub(super) answer: Result<Answer, String>,
}

/// Asks for each address once at a time. An address that is asked for again while its request runs is asked once more after
/// it, since the answer may be from before the change.
#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: BTreeSet<String>,
    running: BTreeSet<String>,
    documents: BTreeSet<String>,
    requests: JoinSet<Answered>,
}

impl Asks {
    pub(super) fn ask(&mut self, address: &str, what: AskFor) {
        if what == AskFor::Document {
            self.documents.insert(address.to_owned());
        }
        self.waiting.insert(address.to_owned());
    }

    pub(super) fn is_asking(&self, address: &str) -> bool {
        self.running.contains(address) || self.waiting.contains(address)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Starts what waits, as far as there is room.
    pub(super) fn start(&mut self, client: &DevServerClient) {
        while self.running.len() < MAX_AT_ONCE {
            let next = self.waiting.iter().find(|address| !self.running.contains(*address)).cloned();
            let Some(address) = next else { return };
            self.waiting.remove(&address);
            self.running.insert(address.clone());
            let what = if self.documents.contains(&address) { AskFor::Document } else { AskFor::Module };
            let client = client.clone();
            self.requests.spawn(async move {
                let answer = client.get(&address, what).await;
                Answered { address, what, answer }
            });
        }
    }

    /// The next answer; pending while nothing is asked. Cancel safe.
    pub(super) async fn next(&mut self) -> Answered {
        let Some(joined) = self.requests.join_next().await else { return std::future::pending().await };
        let answered = propagate_panic(joined);
        self.running.remove(&answered.address);
        answered
    }
}
