//! Log lines: JSON for machines, short lines for people.
//!
//! A separate thread writes the lines from a bounded queue: a reader that stops reading does not stop the agent.

mod json;
mod pretty;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use writer::{Flush, dropped};

/// The ids in every JSON line.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The project's UUID.
    pub project_id: String,
    /// The session's id.
    pub session_id: String,
    /// The machine's id, where the platform gives one.
    pub container_id: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object a line.
    Json,
    /// One short line for people.
    Pretty(Colours),
}

/// Whether lines for people have terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// With ANSI colour codes.
    On,
    /// Plain text.
    Off,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// A filter in the syntax of `tracing`.
    pub filter: String,
    /// How the lines look.
    pub format: LineFormat,
}

/// Gets each line of level info and above as JSON, whatever `LOG_LEVEL` is. Called from any thread.
pub type Tap = Arc<dyn Fn(String) + Send + Sync>;

/// Starts logging to standard output, and passes each line to `tap` as well, where there is one. Keep the answer until
/// the process ends: dropping it writes the lines that are still queued.
///
/// # Errors
/// The filter does not parse; the text is one line.
pub fn start(options: &LogOptions, origin: Origin, started: Instant, tap: Option<Tap>) -> Result<Flush, String> {
    let filter = EnvFilter::try_new(&options.filter).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let tap = tap.map(|tap| {
        let layer = json::JsonLines::new(move |line| tap(line), json::Form::new(origin.clone(), started));
        layer.with_filter(LevelFilter::INFO)
    });
    let registry = tracing_subscriber::registry().with(tap);
    // A second start within one process (a test) keeps the first.
    let (flush, _) = match options.format {
        LineFormat::Json => {
            let form = json::Form::new(origin, started);
            let dropped = form.clone();
            let (lines, flush) = writer::start(move |lines| dropped.dropped(lines));
            let layer = json::JsonLines::new(move |line| lines.write(line), form);
            (flush, registry.with(layer.with_filter(filter)).try_init())
        }
        LineFormat::Pretty(colours) => {
            let form = pretty::Form::new(colours);
            let (lines, flush) = writer::start(move |lines| form.dropped(lines));
            (flush, registry.with(pretty::PrettyLines::new(lines, form).with_filter(filter)).try_init())
        }
    };
    Ok(flush)
}

fn dropped_message(lines: u64) -> String {
    format!("{lines} log lines were dropped: standard output was not read fast enough")
}
