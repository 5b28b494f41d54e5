//! Starts the log as the configuration says.

use std::time::Instant;

use crate::cli::config::{self, Config, LogConfig, LogFormat};
use crate::telemetry::logs::{self, Colours, Flush, LineFormat, LogOptions, Origin, Tap};

/// Starts logging to standard output, and passes each line to `tap` as well. Keep the answer until the process ends:
/// dropping it writes the lines that are still queued.
///
/// # Errors
/// `LOG_LEVEL` does not parse; the text is one line.
pub fn start_logs(config: LogConfig, origin: Origin, started: Instant, tap: Option<Tap>) -> Result<Flush, String> {
    let format = match (config.format, config.colours) {
        (LogFormat::Json, _) => LineFormat::Json,
        (LogFormat::Pretty, config::Colours::On) => LineFormat::Pretty(Colours::On),
        (LogFormat::Pretty, config::Colours::Off) => LineFormat::Pretty(Colours::Off),
    };
    logs::start(&LogOptions { filter: config.filter, format }, origin, started, tap)
}

/// The ids that each log line carries.
pub fn origin(config: &Config) -> Origin {
    Origin {
        project_id: config.project_id.clone(),
        session_id: config.session_id.clone(),
        container_id: config.container_id.clone(),
    }
}
