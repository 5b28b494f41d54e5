use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Colours;
use super::json::Fields;
use super::writer::Lines;
use crate::telemetry::text::printable;

/// One calm line for people: the time, the message, and nothing that the message says already.
pub(super) struct PrettyLines {
    lines: Lines,
    form: Form,
}

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    colours: Colours,
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
        let of_the_dev_server = text("stream").is_some();
        self.lines.write(self.form.line(*event.metadata().level(), of_the_dev_server, &message));
    }
}

impl Form {
    pub(super) fn new(colours: Colours) -> Form {
        Form { colours }
    }

    /// Makes the line that says how many were lost.
    pub(super) fn dropped(self, lines: u64) -> String {
        self.line(Level::WARN, false, &super::dropped_words(lines))
    }

    fn line(self, level: Level, of_the_dev_server: bool, message: &str) -> String {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let time = self.paint("2", &time);
        match (of_the_dev_server, level) {
            (true, _) => format!("{time} {} {message}", self.paint("36", "|")),
            (false, Level::ERROR) => format!("{time} {} {message}", self.paint("31", "error:")),
            (false, Level::WARN) => format!("{time} {} {message}", self.paint("33", "warning:")),
            (false, _) => format!("{time} {message}"),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            Colours::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colours::Off => text.to_owned(),
        }
    }
}
