//! How the process ends.

use std::fmt::Display;
use std::process::ExitCode;

/// The end of a run: its status, and what has not been said yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Exit {
    status: u8,
    message: Option<String>,
}

impl Exit {
    /// Nothing went wrong: 0.
    pub fn fine() -> Exit {
        Exit { status: 0, message: None }
    }

    /// Bad settings, nothing was started: 64.
    pub fn usage(error: impl Display) -> Exit {
        Exit::with(64, error)
    }

    /// Something that is needed cannot be had: 69.
    pub fn unavailable(error: impl Display) -> Exit {
        Exit::with(69, error)
    }

    /// The agent's own fault: 70.
    pub fn fault(error: impl Display) -> Exit {
        Exit::with(70, error)
    }

    /// The disk: 74.
    pub fn disk(error: impl Display) -> Exit {
        Exit::with(74, error)
    }

    /// A signal ended it: 128 + its number.
    pub fn signal(number: i32) -> Exit {
        Exit { status: 128_u8.saturating_add(u8::try_from(number).unwrap_or(0)), message: None }
    }

    /// What clap refused, in one line; its help and version are no refusals.
    pub fn from_usage(error: &clap::Error) -> Exit {
        use clap::error::ErrorKind;
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            // A closed standard output is the reader's choice.
            let _ = error.print();
            return Exit::fine();
        }
        let text = error.render().to_string();
        let line: Vec<_> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let line = line.join(" ");
        Exit::usage(format!("{}; see --help", line.strip_prefix("error: ").unwrap_or(&line)))
    }

    /// The status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The same without its message, which was logged already.
    pub fn without_message(self) -> Exit {
        Exit { message: None, ..self }
    }

    /// What there is to say.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Says what there is to say, once, and ends.
    pub fn code(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("preview-agent: {message}");
        }
        ExitCode::from(self.status)
    }

    fn with(status: u8, error: impl Display) -> Exit {
        Exit { status, message: Some(error.to_string()) }
    }
}
