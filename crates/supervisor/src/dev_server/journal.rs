use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::{DevServerEvent, LogLine, Source};
use crate::clock::unix_ms;
use crate::process::OutputLine;

/// Lines kept for `/logs` ...
const MAX_LINES: usize = 1000;
/// ... and their bytes together.
const MAX_BYTES: usize = 1 << 20;
/// Places among the events that waiting lines must leave free, so that a chattering dev server crowds out no event.
const RESERVED: usize = 128;

/// Keeps the last lines, and tells the world.
#[derive(Debug)]
pub(super) struct Journal {
    kept: Mutex<Kept>,
    events: mpsc::Sender<DevServerEvent>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Journal {
    pub(super) fn new(events: mpsc::Sender<DevServerEvent>) -> Journal {
        Journal { kept: Mutex::default(), events }
    }

    /// Nobody waits for a reader: an event that finds no room is lost, and the log says so.
    pub(super) fn event(&self, event: DevServerEvent) {
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.events.try_send(event) {
            tracing::warn!(?lost, "a dev server event was not read in time");
        }
    }

    pub(super) fn line(&self, source: Source, line: OutputLine) {
        let OutputLine { stream, text } = line;
        if self.events.capacity() > RESERVED {
            self.event(match source {
                Source::DevServer => DevServerEvent::Output { stream, line: text.clone() },
                Source::Install => DevServerEvent::InstallProgress { line: text.clone() },
            });
        }
        let mut kept = self.kept.lock().expect("no panic while held");
        kept.bytes += text.len();
        kept.lines.push_back(LogLine { at_unix_ms: unix_ms(), source, stream, line: text });
        while kept.lines.len() > MAX_LINES || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { return };
            kept.bytes -= oldest.line.len();
        }
    }

    /// The last `tail` lines, oldest first.
    pub(super) fn tail(&self, tail: usize) -> Vec<LogLine> {
        let kept = self.kept.lock().expect("no panic while held");
        kept.lines.iter().skip(kept.lines.len().saturating_sub(tail)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Stream;

    #[test]
    fn keeps_the_last_lines_and_leaves_room_for_events() {
        let (events, mut received) = mpsc::channel(RESERVED + 10);
        let journal = Journal::new(events);
        for number in 0..MAX_LINES + 5 {
            journal.line(Source::DevServer, OutputLine { stream: Stream::Stdout, text: number.to_string() });
        }
        journal.event(DevServerEvent::Ready { duration: Default::default() });
        let kept: Vec<_> = journal.tail(MAX_LINES * 2).into_iter().map(|line| line.line).collect();
        assert_eq!((kept.len(), kept[0].as_str()), (MAX_LINES, "5"));
        assert_eq!(journal.tail(1)[0].line, (MAX_LINES + 4).to_string());
        let told: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
        assert_eq!(told.len(), 11);
        assert!(matches!(told.last(), Some(DevServerEvent::Ready { .. })));
    }

    #[test]
    fn keeps_no_more_bytes_than_its_bound() {
        let (events, _received) = mpsc::channel(1);
        let journal = Journal::new(events);
        for _ in 0..300 {
            journal.line(Source::Install, OutputLine { stream: Stream::Stderr, text: "x".repeat(8192) });
        }
        assert_eq!(journal.tail(1000).len(), MAX_BYTES / 8192);
    }
}
