//! Log lines, as JSON for machines and calm ones for people.
//!
//! Lines are written by a thread of their own from a bounded queue: a reader that stops reading never stops the agent.

mod json;
mod pretty;
mod writer;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use pretty::printable;
pub use writer::{Flush, dropped};

use crate::cli::arguments::{LogArgs, LogFormat};
use crate::cli::config::{Config, colours_allowed};

/// What every line says of where it comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The project's UUID.
    pub project_id: String,
    /// The session's id.
    pub session_id: String,
    /// The machine's id, where the platform gives one.
    pub container_id: Option<String>,
}

impl Origin {
    /// The session that `config` is for.
    pub fn of(config: &Config) -> Origin {
        Origin {
            project_id: config.project_id.clone(),
            session_id: config.session_id.clone(),
            container_id: config.container_id.clone(),
        }
    }
}

/// Is handed each line as JSON, from info on, whatever `LOG_LEVEL` lets through to standard output. Called from any thread.
pub type Tap = Arc<dyn Fn(String) + Send + Sync>;

/// Starts logging to standard output. Keep the answer until the end and flush it: it writes what is still queued.
///
/// # Errors
/// A filter that does not parse, said in one line.
pub fn start(args: &LogArgs, origin: Origin, started: Instant) -> Result<Flush, String> {
    start_tapped(args, origin, started, None)
}

/// As [`start`], and hands every line to `tap` as well.
///
/// # Errors
/// Those of [`start`].
pub fn start_tapped(args: &LogArgs, origin: Origin, started: Instant, tap: Option<Tap>) -> Result<Flush, String> {
    let filter = EnvFilter::try_new(&args.log_level).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let terminal = std::io::stdout().is_terminal();
    let format = args.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    let tap = tap.map(|tap| {
        let layer = json::JsonLines::new(move |line| tap(line), json::Form::new(origin.clone(), started));
        layer.with_filter(LevelFilter::INFO)
    });
    let registry = tracing_subscriber::registry().with(tap);
    // A second start within one process (a test) keeps the first.
    let (flush, _) = match format {
        LogFormat::Json => {
            let form = json::Form::new(origin, started);
            let dropped = form.clone();
            let (lines, flush) = writer::start(move |lines| dropped.dropped(lines));
            let layer = json::JsonLines::new(move |line| lines.write(line), form);
            (flush, registry.with(layer.with_filter(filter)).try_init())
        }
        LogFormat::Pretty => {
            let form = pretty::Form::new(terminal && colours_allowed());
            let (lines, flush) = writer::start(move |lines| form.dropped(lines));
            (flush, registry.with(pretty::PrettyLines::new(lines, form).with_filter(filter)).try_init())
        }
    };
    Ok(flush)
}

fn dropped_words(lines: u64) -> String {
    format!("{lines} log lines were dropped: nobody read them fast enough")
}
