use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock::after;

/// The longest line that is kept, in bytes. The rest of a longer one is dropped.
pub const MAX_LINE: usize = 8 * 1024;
/// Lines of one stream of one process within a [`WINDOW`]. Further lines are dropped and counted.
pub const MAX_LINES: u64 = 500;
/// Bytes read from one stream within a [`WINDOW`]. A process that prints more has to wait, so that reading its output
/// does not take all of the agent's time.
pub const MAX_BYTES: usize = 4 << 20;
/// The time that the two bounds above count in.
pub const WINDOW: Duration = Duration::from_secs(1);

/// The stream that a line was printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the streams")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Both streams.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The code in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// The stream that it was printed to.
    pub stream: Stream,
    /// The line without its newline, colours and control characters; at most [`MAX_LINE`] bytes.
    pub text: String,
}

/// The pipes that a child prints to.
pub(crate) struct Pipes {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Pipes {
    /// Reads both until they end, into `lines`. Lines that find it full are dropped and counted: a slow reader never
    /// delays the child.
    pub(crate) fn read_into(self, lines: mpsc::Sender<OutputLine>) -> io::Result<()> {
        if let Some(stdout) = self.stdout {
            let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
            tokio::spawn(read(pipe, Lines::new(Stream::Stdout, lines.clone())));
        }
        if let Some(stderr) = self.stderr {
            let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?;
            tokio::spawn(read(pipe, Lines::new(Stream::Stderr, lines)));
        }
        Ok(())
    }
}

async fn read(mut pipe: pipe::Receiver, mut lines: Lines) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match lines.report_due() {
            // At the end of the window the dropped lines are reported, even where no more output comes.
            Some(end) => match timeout_at(end, pipe.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    lines.next_window(Instant::now());
                    continue;
                }
            },
            None => pipe.read(&mut buffer).await,
        };
        match read {
            Ok(read) if read > 0 => lines.take(buffer.get(..read).unwrap_or_default(), Instant::now()),
            // The end. A pipe that cannot be read any more is treated in the same way.
            _ => return lines.finish(),
        }
        if let Some(until) = lines.paused_until() {
            sleep_until(until).await;
        }
    }
}

/// Splits bytes into lines, within the bounds.
struct Lines {
    stream: Stream,
    out: mpsc::Sender<OutputLine>,
    line: Vec<u8>,
    window: Instant,
    lines: u64,
    bytes: usize,
    dropped: u64,
}

impl Lines {
    fn new(stream: Stream, out: mpsc::Sender<OutputLine>) -> Lines {
        Lines { stream, out, line: Vec::new(), window: Instant::now(), lines: 0, bytes: 0, dropped: 0 }
    }

    fn take(&mut self, bytes: &[u8], now: Instant) {
        self.next_window(now);
        self.bytes = self.bytes.saturating_add(bytes.len());
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // `split` returns at least one part. All but the last end with a newline.
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.extend(part);
            self.end_line();
        }
        self.extend(last);
    }

    fn finish(mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.report_dropped();
    }

    fn extend(&mut self, part: &[u8]) {
        let free = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend(part.iter().take(free));
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines = self.lines.saturating_add(1);
        if self.lines > MAX_LINES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let text = without_control_characters(&String::from_utf8_lossy(&line));
        if self.out.try_send(OutputLine { stream: self.stream, text }).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn next_window(&mut self, now: Instant) {
        if now >= after(self.window, WINDOW) {
            (self.window, self.lines, self.bytes) = (now, 0, 0);
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let text = format!("… {} lines dropped", self.dropped);
            if self.out.try_send(OutputLine { stream: self.stream, text }).is_ok() {
                self.dropped = 0;
            }
        }
    }

    /// When dropped lines have to be reported; none where there are none, or no reader.
    fn report_due(&self) -> Option<Instant> {
        (self.dropped > 0 && !self.out.is_closed()).then_some(after(self.window, WINDOW))
    }

    /// Until when nothing more is read.
    fn paused_until(&self) -> Option<Instant> {
        (self.bytes > MAX_BYTES).then_some(after(self.window, WINDOW))
    }
}

/// Escape sequences could change the terminal or the log that shows the line.
fn without_control_characters(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                // Parameters, then one final byte.
                while rest.next_if(|next| !('\u{40}'..='\u{7e}').contains(next)).is_some() {}
                rest.next();
            }
            '\t' => text.push('\t'),
            control if control.is_control() => {}
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let (out, mut got) = mpsc::channel(10_000);
        let mut lines = Lines::new(Stream::Stdout, out);
        let now = Instant::now();
        chunks.iter().for_each(|chunk| lines.take(chunk, now));
        lines.finish();
        std::iter::from_fn(|| got.try_recv().ok().map(|line| line.text)).collect()
    }

    #[test]
    fn line_may_come_in_several_reads() {
        assert_eq!(lines_of(&[b"on", b"e\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn colours_are_removed() {
        assert_eq!(lines_of(&["\u{1b}[32m➜\u{1b}[39m  Local\u{7}:\tx\r\n".as_bytes()]), ["➜  Local:\tx"]);
        assert_eq!(lines_of(&[b"\x1b[", b"\xff\n"]), [""]);
    }

    #[test]
    fn line_without_an_end_is_cut() {
        let flood = vec![b'x'; 3 * MAX_LINE];
        assert_eq!(lines_of(&[&flood, b"\nnext\n"]), ["x".repeat(MAX_LINE), "next".into()]);
    }

    #[test]
    fn further_lines_are_dropped_and_counted() {
        let got = lines_of(&["x\n".repeat(MAX_LINES as usize + 7).as_bytes()]);
        assert_eq!(got.len() as u64, MAX_LINES + 1);
        assert_eq!(got.last().expect("not empty"), "… 7 lines dropped");
    }

    #[test]
    fn slow_reader_loses_lines_and_gets_their_number() {
        let (out, mut got) = mpsc::channel(1);
        let mut lines = Lines::new(Stream::Stderr, out);
        lines.take(b"a\nb\nc\n", Instant::now());
        assert_eq!(got.try_recv().expect("one fits").text, "a");
        lines.finish();
        assert_eq!(got.try_recv().expect("room again").text, "… 2 lines dropped");
    }
}
