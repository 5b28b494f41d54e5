use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The longest line that is kept, in bytes. The rest of a longer one is dropped.
pub const MAX_LINE: usize = 8 * 1024;
/// Lines that one stream of one process may bring within a [`WINDOW`]; those on top are dropped and counted.
pub const MAX_LINES: u64 = 500;
/// Bytes read from one stream within a [`WINDOW`]; whoever prints more waits, so that it cannot burn the agent's time.
pub const MAX_BYTES: usize = 4 << 20;
/// What the two bounds above are counted over.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line, without its newline, without colours and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OutputLine {
    pub stream: Stream,
    pub text: String,
}

/// Both ends that a child prints into.
pub(crate) struct Pipes {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Pipes {
    /// Reads both until their ends, into `lines`. Lines that find it full are dropped and counted: a slow reader never
    /// holds the child up.
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
        let read = match lines.window_ends_with_news() {
            // Say what was dropped at the end of the window, though nothing more may come.
            Some(end) => match timeout_at(end, pipe.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    lines.turn_window(Instant::now());
                    continue;
                }
            },
            None => pipe.read(&mut buffer).await,
        };
        match read {
            Ok(read) if read > 0 => lines.take(&buffer[..read], Instant::now()),
            // The end, or a pipe that nobody can read any more, which is the same to us.
            _ => return lines.finish(),
        }
        if let Some(until) = lines.overfed() {
            sleep_until(until).await;
        }
    }
}

/// Cuts bytes into lines, within the bounds.
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
        self.turn_window(now);
        self.bytes += bytes.len();
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // `split` gives at least one part; all but the last end in a newline.
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
        self.say_dropped();
    }

    fn extend(&mut self, part: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        if self.lines > MAX_LINES {
            self.dropped += 1;
            return;
        }
        let text = plain(&String::from_utf8_lossy(&line));
        if self.out.try_send(OutputLine { stream: self.stream, text }).is_err() {
            self.dropped += 1;
        }
    }

    fn turn_window(&mut self, now: Instant) {
        if now >= self.window + WINDOW {
            (self.window, self.lines, self.bytes) = (now, 0, 0);
            self.say_dropped();
        }
    }

    fn say_dropped(&mut self) {
        if self.dropped > 0 {
            let text = format!("… {} lines dropped", self.dropped);
            if self.out.try_send(OutputLine { stream: self.stream, text }).is_ok() {
                self.dropped = 0;
            }
        }
    }

    fn window_ends_with_news(&self) -> Option<Instant> {
        (self.dropped > 0 && !self.out.is_closed()).then_some(self.window + WINDOW)
    }

    fn overfed(&self) -> Option<Instant> {
        (self.bytes > MAX_BYTES).then_some(self.window + WINDOW)
    }
}

/// Without escape sequences and control characters: a line must not play with the terminal or the log it lands in.
fn plain(line: &str) -> String {
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
    fn lines_are_put_together_across_reads() {
        assert_eq!(lines_of(&[b"on", b"e\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn colours_go() {
        assert_eq!(lines_of(&["\u{1b}[32m➜\u{1b}[39m  Local\u{7}:\tx\r\n".as_bytes()]), ["➜  Local:\tx"]);
        assert_eq!(lines_of(&[b"\x1b[", b"\xff\n"]), [""]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let flood = vec![b'x'; 3 * MAX_LINE];
        assert_eq!(lines_of(&[&flood, b"\nnext\n"]), ["x".repeat(MAX_LINE), "next".into()]);
    }

    #[test]
    fn too_many_lines_are_counted_instead() {
        let got = lines_of(&["x\n".repeat(MAX_LINES as usize + 7).as_bytes()]);
        assert_eq!(got.len() as u64, MAX_LINES + 1);
        assert_eq!(got.last().expect("not empty"), "… 7 lines dropped");
    }

    #[test]
    fn a_reader_that_is_full_loses_lines_and_hears_how_many() {
        let (out, mut got) = mpsc::channel(1);
        let mut lines = Lines::new(Stream::Stderr, out);
        lines.take(b"a\nb\nc\n", Instant::now());
        assert_eq!(got.try_recv().expect("one fits").text, "a");
        lines.finish();
        assert_eq!(got.try_recv().expect("room again").text, "… 2 lines dropped");
    }
}
