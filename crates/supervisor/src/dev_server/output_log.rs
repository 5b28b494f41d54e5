use std::collections::VecDeque;
use std::sync::Mutex;

use serde::{Serialize, Serializer};
use tokio::sync::mpsc;

use super::DevServerEvent;
use crate::clock::unix_ms;
use crate::process::{OutputLine, Stream};

/// Lines kept for `/logs`.
const MAX_LINES: usize = 1000;
/// Bytes that the kept lines have together.
const MAX_BYTES: usize = 1 << 20;
/// Places in the queue of events that lines of output leave free, so that much output displaces no other event.
pub(super) const RESERVED: usize = 128;

/// One kept line of the dev server or the package manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When it was read, in Unix milliseconds.
    pub at_unix_ms: u64,
    /// Which process printed it.
    pub source: OutputSource,
    /// Which of its streams it came from.
    pub stream: Stream,
    /// Without the newline, cut at [`crate::process::MAX_LINE`].
    pub line: String,
}

/// Which process printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputSource {
    /// The dev server or a process that it started.
    DevServer,
    /// The package manager or a process that it started.
    Install,
}

impl OutputSource {
    /// All sources.
    pub const ALL: [OutputSource; 2] = [OutputSource::DevServer, OutputSource::Install];

    /// The code of the source.
    pub fn as_str(self) -> &'static str {
        match self {
            OutputSource::DevServer => "dev_server",
            OutputSource::Install => "install",
        }
    }
}

impl Serialize for OutputSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Keeps the last lines of output, and queues events.
#[derive(Debug)]
pub(super) struct OutputLog {
    kept: Mutex<Kept>,
    events: mpsc::Sender<DevServerEvent>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl OutputLog {
    pub(super) fn new(events: mpsc::Sender<DevServerEvent>) -> OutputLog {
        OutputLog { kept: Mutex::default(), events }
    }

    /// Never waits for the reader: an event that finds no place is lost, and the agent's log says so.
    pub(super) fn event(&self, event: DevServerEvent) {
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.events.try_send(event) {
            tracing::warn!(?lost, "a dev server event was not read in time and is lost");
        }
    }

    pub(super) fn line(&self, source: OutputSource, line: OutputLine) {
        let OutputLine { stream, text } = line;
        if self.events.capacity() > RESERVED {
            self.event(match source {
                OutputSource::DevServer => DevServerEvent::Output { stream, line: text.clone() },
                OutputSource::Install => DevServerEvent::InstallProgress { line: text.clone() },
            });
        }
        let mut kept = self.kept.lock().expect("no panic while held");
        kept.bytes = kept.bytes.saturating_add(text.len());
        kept.lines.push_back(LogLine { at_unix_ms: unix_ms(), source, stream, line: text });
        while kept.lines.len() > MAX_LINES || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { return };
            kept.bytes = kept.bytes.saturating_sub(oldest.line.len());
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

    #[test]
    fn last_lines_are_kept_and_events_find_a_place() {
        let (events, mut received) = mpsc::channel(RESERVED + 10);
        let log = OutputLog::new(events);
        for number in 0..MAX_LINES + 5 {
            log.line(OutputSource::DevServer, OutputLine { stream: Stream::Stdout, text: number.to_string() });
        }
        log.event(DevServerEvent::Ready { duration: Default::default() });
        let kept: Vec<_> = log.tail(MAX_LINES * 2).into_iter().map(|line| line.line).collect();
        assert_eq!((kept.len(), kept[0].as_str()), (MAX_LINES, "5"));
        assert_eq!(log.tail(1)[0].line, (MAX_LINES + 4).to_string());
        let events: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
        assert_eq!(events.len(), 11);
        assert!(matches!(events.last(), Some(DevServerEvent::Ready { .. })));
    }

    #[test]
    fn kept_bytes_are_bounded() {
        let (events, _received) = mpsc::channel(1);
        let log = OutputLog::new(events);
        for _ in 0..300 {
            log.line(OutputSource::Install, OutputLine { stream: Stream::Stderr, text: "x".repeat(8192) });
        }
        assert_eq!(log.tail(1000).len(), MAX_BYTES / 8192);
    }

    #[test]
    fn source_is_serialized_as_its_code() {
        for source in OutputSource::ALL {
            assert_eq!(serde_json::to_value(source).expect("JSON"), source.as_str());
        }
    }
}
