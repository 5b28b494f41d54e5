use std::time::Instant;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Origin;
use super::writer::Lines;

/// One flat JSON object a line: the contract's fields first, then the event's own.
pub(super) struct JsonLines {
    lines: Lines,
    origin: Origin,
    started: Instant,
}

impl JsonLines {
    pub(super) fn new(lines: Lines, origin: Origin, started: Instant) -> JsonLines {
        JsonLines { lines, origin, started }
    }
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Map::new();
        line.insert("timestamp".into(), timestamp().into());
        line.insert("level".into(), event.metadata().level().as_str().to_ascii_lowercase().into());
        line.insert("message".into(), fields.0.remove("message").unwrap_or_default());
        line.insert("event_type".into(), fields.0.remove("event_type").unwrap_or_else(|| "log".into()));
        line.insert("project_id".into(), self.origin.project_id.clone().into());
        line.insert("session_id".into(), self.origin.session_id.clone().into());
        line.insert("container_id".into(), self.origin.container_id.clone().into());
        line.insert("uptime_ms".into(), (self.started.elapsed().as_millis() as u64).into());
        line.append(&mut fields.0);
        self.lines.write(Value::Object(line).to_string());
    }
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
    fn timestamps_are_rfc_3339() {
        let text = timestamp();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert_eq!(text.len(), "2026-01-01T00:00:00.000Z".len(), "{text}");
    }
}
