use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, interval};

use super::ConsoleState;
use crate::telemetry::logs::Tap;
use crate::telemetry::status::SharedStatus;

/// Log lines kept for a page that comes later, or again.
const KEPT: usize = 1000;
/// How often a page is told the state.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// The run's log lines, for pages. Clones are the same feed.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    /// Tells a page that came back whether it is still the same run.
    run: String,
    lines: Mutex<Lines>,
}

struct Lines {
    /// Of the line to come.
    number: u64,
    kept: VecDeque<Line>,
    readers: broadcast::Sender<Line>,
}

type Line = (u64, Arc<str>);

impl Default for Feed {
    fn default() -> Feed {
        let lines = Lines { number: 1, kept: VecDeque::new(), readers: broadcast::Sender::new(KEPT) };
        Feed(Arc::new(Shared { run: uuid::Uuid::new_v4().to_string(), lines: Mutex::new(lines) }))
    }
}

impl Feed {
    /// The run's id.
    pub fn run(&self) -> &str {
        &self.0.run
    }

    /// Takes the lines of the log.
    pub fn tap(&self) -> Tap {
        let feed = self.clone();
        Arc::new(move |line| feed.push(line))
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        let line: Line = (lines.number, line.into());
        lines.number = lines.number.wrapping_add(1);
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line.clone());
        // No reader is no error: no page is open.
        let _readers = lines.readers.send(line);
    }

    /// The kept lines after `last`, and those to come.
    fn since(&self, last: u64) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let lines = self.lock();
        let kept = lines.kept.iter().filter(|(number, _)| *number > last).cloned().collect();
        (kept, lines.readers.subscribe())
    }

    /// The number in a page's `Last-Event-ID`, where it is of this run.
    fn number_of(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('/')?;
        (run == self.0.run).then(|| number.parse().ok())?
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /console/feed`: `hello` with the run's id, then each log line as `log`, and twice a second the state as `status`.
pub async fn follow(
    State(console): State<Arc<ConsoleState>>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = id.and_then(|id| console.feed.number_of(id)).unwrap_or_default();
    let (kept, lines) = console.feed.since(last);
    let hello = Event::default().event("hello").data(console.feed.run());
    let replay: Vec<Event> = kept.iter().map(|line| console.log(line)).collect();
    let live = stream::unfold(Following { console, lines, every: interval(STATUS_EVERY) }, async |mut following| {
        following.next().await.map(|event| (event, following))
    });
    let events = stream::iter([hello]).chain(stream::iter(replay)).chain(live);
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

struct Following {
    console: Arc<ConsoleState>,
    lines: broadcast::Receiver<Line>,
    every: Interval,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                line = self.lines.recv() => match line {
                    Ok(line) => return Some(self.console.log(&line)),
                    // A page too slow for its log goes on with what is new.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                _ = self.every.tick() => return Some(self.console.status()),
            }
        }
    }
}

impl ConsoleState {
    fn log(&self, (number, line): &Line) -> Event {
        Event::default().event("log").id(format!("{}/{number}", self.feed.run())).data(line)
    }

    fn status(&self) -> Event {
        let agent = self.status.as_ref().map(SharedStatus::to_json);
        let problems = self.status.as_ref().map(SharedStatus::problems_json);
        let status = json!({"agent": agent, "problems": problems, "agents": self.agents.latest(), "faults": self.faults.settings()});
        Event::default().event("status").data(status.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_comes_back_gets_what_it_missed() {
        let feed = Feed::default();
        for line in 1..=KEPT + 2 {
            feed.push(format!("line {line}"));
        }
        let all = feed.since(0).0;
        assert_eq!((all.len(), all[0].0), (KEPT, 3));
        let id = format!("{}/{KEPT}", feed.run());
        let missed = feed.since(feed.number_of(&id).unwrap()).0;
        assert_eq!(missed.iter().map(|(_, line)| &**line).collect::<Vec<_>>(), ["line 1001", "line 1002"]);
        assert_eq!(feed.number_of("another-run/1000"), None);
    }
}
