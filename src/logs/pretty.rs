use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::json::Fields;
use super::writer::Lines;

/// One calm line for people: the time, the message, and nothing that the message says already.
pub(super) struct PrettyLines {
    lines: Lines,
    colours: bool,
}

impl PrettyLines {
    pub(super) fn new(lines: Lines, colours: bool) -> PrettyLines {
        PrettyLines { lines, colours }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl<S: Subscriber> Layer<S> for PrettyLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = |name: &str| fields.0.get(name).and_then(|value| value.as_str()).map(printable);
        let message = text("message").unwrap_or_default();
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let time = self.paint("2", &time);
        let line = match (text("stream"), *event.metadata().level()) {
            (Some(_), _) => format!("{time} {} {message}", self.paint("36", "|")),
            (None, Level::ERROR) => format!("{time} {} {message}", self.paint("31", "error:")),
            (None, Level::WARN) => format!("{time} {} {message}", self.paint("33", "warning:")),
            (None, _) => format!("{time} {message}"),
        };
        self.lines.write(line);
    }
}

/// Without control characters: what the project's code prints must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}
