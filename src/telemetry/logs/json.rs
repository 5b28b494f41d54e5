//! Log lines for machines.

use std::time::Instant;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Origin;

/// One flat JSON object a line.
pub(super) struct JsonLines<W> {
    write: W,
    form: Form,
}

/// The layout of a line: the fields of the contract first, then those of the event.
#[derive(Debug, Clone)]
pub(super) struct Form {
    origin: Origin,
    started: Instant,
}

impl<W: Fn(String) + Send + Sync + 'static> JsonLines<W> {
    /// `write` takes each line without its line break.
    pub(super) fn new(write: W, form: Form) -> JsonLines<W> {
        JsonLines { write, form }
    }
}

impl<W: Fn(String) + Send + Sync + 'static, S: Subscriber> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        (self.write)(self.form.line(*event.metadata().level(), fields.0));
    }
}

impl Form {
    pub(super) fn new(origin: Origin, started: Instant) -> Form {
        Form { origin, started }
    }

    /// The line that tells how many lines were dropped.
    pub(super) fn dropped(&self, lines: u64) -> String {
        let message = super::dropped_message(lines);
        let fields = [("message", message.into()), ("event_type", "logs_dropped".into()), ("lines", lines.into())];
        self.line(Level::WARN, fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
    }

    fn line(&self, level: Level, mut fields: Map<String, Value>) -> String {
        let message = fields.remove("message").unwrap_or_default();
        let event_type = fields.remove("event_type").unwrap_or_else(|| "log".into());
        let first = [
            ("timestamp", timestamp().into()),
            ("level", level.as_str().to_ascii_lowercase().into()),
            ("message", message),
            ("event_type", event_type),
            ("project_id", self.origin.project_id.clone().into()),
            ("session_id", self.origin.session_id.clone().into()),
            ("container_id", self.origin.container_id.clone().into()),
            ("uptime_ms", (self.started.elapsed().as_millis() as u64).into()),
        ];
        object(&first, &fields)
    }
}

/// Keeps the order of the first fields, which a map would not keep: people read these lines too.
fn object(first: &[(&str, Value)], rest: &Map<String, Value>) -> String {
    let rest = rest.iter().map(|(name, value)| (name.as_str(), value));
    let fields = first.iter().map(|(name, value)| (*name, value)).chain(rest);
    let fields: Vec<_> = fields.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", fields.join(","))
}

/// RFC 3339 in UTC, to the millisecond.
fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[derive(Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_flat_object_with_the_time_first() {
        let rest = Map::from_iter([("file \"path\"".to_owned(), Value::from("a\nb"))]);
        let line = object(&[("timestamp", "t".into()), ("level", "info".into())], &rest);
        assert_eq!(line, r#"{"timestamp":"t","level":"info","file \"path\"":"a\nb"}"#);
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let text = timestamp();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert_eq!(text.len(), "2026-01-01T00:00:00.000Z".len(), "{text}");
    }
}
