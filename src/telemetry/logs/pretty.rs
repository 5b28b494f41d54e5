//! Log lines for people.

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Colours;
use super::json::Fields;
use super::writer::Lines;
use crate::telemetry::text::printable;

/// One short line for people: the time and the message.
pub(super) struct PrettyLines {
    lines: Lines,
    form: Form,
}

/// The layout of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    colours: Colours,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineOrigin {
    Agent,
    DevServer,
}

impl PrettyLines {
    pub(super) fn new(lines: Lines, form: Form) -> PrettyLines {
        PrettyLines { lines, form }
    }
}

impl<S: Subscriber> Layer<S> for PrettyLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = |name: &str| fields.0.get(name).and_then(|value| value.as_str()).map(printable);
        let message = text("message").unwrap_or_default();
        let origin = if text("stream").is_some() { LineOrigin::DevServer } else { LineOrigin::Agent };
        self.lines.write(self.form.line(*event.metadata().level(), origin, &message));
    }
}

impl Form {
    pub(super) fn new(colours: Colours) -> Form {
        Form { colours }
    }

    /// The line that tells how many lines were dropped.
    pub(super) fn dropped(self, lines: u64) -> String {
        self.line(Level::WARN, LineOrigin::Agent, &super::dropped_message(lines))
    }

    fn line(self, level: Level, origin: LineOrigin, message: &str) -> String {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let time = self.paint("2", &time);
        match (origin, level) {
            (LineOrigin::DevServer, _) => format!("{time} {} {message}", self.paint("36", "|")),
            (LineOrigin::Agent, Level::ERROR) => format!("{time} {} {message}", self.paint("31", "error:")),
            (LineOrigin::Agent, Level::WARN) => format!("{time} {} {message}", self.paint("33", "warning:")),
            (LineOrigin::Agent, _) => format!("{time} {message}"),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            Colours::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colours::Off => text.to_owned(),
        }
    }
}
