//! How the process ends.

use std::fmt::Display;
use std::process::ExitCode;

sync_core::code_enum! {
    /// Why the process ends.
    pub enum ExitReason {
        /// Nothing went wrong.
        Done = "done",
        /// Bad settings; nothing was started.
        Usage = "usage",
        /// Something that is needed cannot be had.
        Unavailable = "unavailable",
        /// A fault of the agent itself.
        Fault = "fault",
        /// A directory or a file cannot be used.
        Disk = "disk",
        /// A signal asked for it.
        Signal = "signal",
    }
}

impl ExitReason {
    /// The exit status, as in `sysexits.h`; for a signal, what is added to its number.
    pub const fn status(self) -> u8 {
        match self {
            ExitReason::Done => 0,
            ExitReason::Usage => 64,
            ExitReason::Unavailable => 69,
            ExitReason::Fault => 70,
            ExitReason::Disk => 74,
            ExitReason::Signal => 128,
        }
    }
}

/// The end of a run: its reason and status, and the message that was not printed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Exit {
    reason: ExitReason,
    status: u8,
    message: Option<String>,
}

impl Exit {
    /// Nothing went wrong: 0.
    pub fn fine() -> Exit {
        Exit { reason: ExitReason::Done, status: ExitReason::Done.status(), message: None }
    }

    /// Bad settings, nothing was started: 64.
    pub fn usage(error: impl Display) -> Exit {
        Exit::with(ExitReason::Usage, error)
    }

    /// Something that is needed cannot be had: 69.
    pub fn unavailable(error: impl Display) -> Exit {
        Exit::with(ExitReason::Unavailable, error)
    }

    /// A fault of the agent itself: 70.
    pub fn fault(error: impl Display) -> Exit {
        Exit::with(ExitReason::Fault, error)
    }

    /// The disk: 74.
    pub fn disk(error: impl Display) -> Exit {
        Exit::with(ExitReason::Disk, error)
    }

    /// A signal ended it: 128 + its number.
    pub fn signal(number: i32) -> Exit {
        let status = ExitReason::Signal.status().saturating_add(u8::try_from(number).unwrap_or(0));
        Exit { reason: ExitReason::Signal, status, message: None }
    }

    /// What clap refused, in one line; help and version end with 0.
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

    /// Why it ends.
    pub fn reason(&self) -> ExitReason {
        self.reason
    }

    /// The exit status of the process.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The same without its message, which was logged already.
    pub fn without_message(self) -> Exit {
        Exit { message: None, ..self }
    }

    /// The message for standard error; empty where there is none.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Prints the message, and returns the exit status.
    pub fn code(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("preview-agent: {message}");
        }
        ExitCode::from(self.status)
    }

    fn with(reason: ExitReason, error: impl Display) -> Exit {
        Exit { reason, status: reason.status(), message: Some(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_status_of_its_own() {
        let exits = [
            Exit::fine(),
            Exit::usage("x"),
            Exit::unavailable("x"),
            Exit::fault("x"),
            Exit::disk("x"),
            Exit::signal(15),
        ];
        assert_eq!(exits.each_ref().map(Exit::reason), ExitReason::ALL);
        assert_eq!(exits.each_ref().map(Exit::status), [0, 64, 69, 70, 74, 143]);
    }
}
