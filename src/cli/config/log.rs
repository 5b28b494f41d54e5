use std::io::IsTerminal;

use crate::cli::arguments::{LogArgs, LogFormat};

/// What is logged, and how: [`LogArgs`] with their defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter in the syntax of `tracing`, not checked yet.
    pub filter: String,
    /// JSON or lines for people.
    pub format: LogFormat,
    /// Whether lines for people have colours.
    pub colours: Colours,
}

/// Whether a terminal shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// Standard output is a terminal, and `NO_COLOR` is not set.
    On,
    /// Plain text.
    Off,
}

impl LogConfig {
    /// Fills in what standard output and `NO_COLOR` (see no-color.org) decide.
    #[expect(clippy::disallowed_methods, reason = "the configuration is the one reader of the environment")]
    pub fn resolve(args: &LogArgs) -> LogConfig {
        let terminal = std::io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        LogConfig {
            filter: args.log_level.clone(),
            format: args.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json }),
            colours: if terminal && !no_color { Colours::On } else { Colours::Off },
        }
    }
}
