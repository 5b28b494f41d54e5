use std::sync::Mutex;

use serde_json::{Map, Value, json};

/// Longer strings and lists stand in a record only by their length.
const LONG: usize = 300;
const MANY: usize = 40;

/// What was asked and answered, line by line, with all that differs from run to run made equal.
#[derive(Debug, Default)]
pub struct Transcript(Mutex<Vec<String>>);

/// What a case's own names and numbers are counted from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The folder of the run.
    pub run: String,
    /// The project's head when it began.
    pub revision: i64,
}

impl Transcript {
    pub fn record(&self, case: &str, origin: &Origin, what: Value) {
        let line = format!("{case}: {}", origin.plain("", &what));
        self.0.lock().expect("no panic while recording").push(line);
    }

    pub fn into_lines(self) -> Vec<String> {
        self.0.into_inner().expect("no panic while recording")
    }
}

/// Where two runs differ, with a few lines of each; nothing where they are the same.
pub fn difference(one: &[String], other: &[String]) -> Option<String> {
    let differing: Vec<usize> = (0..one.len().max(other.len())).filter(|&at| one.get(at) != other.get(at)).collect();
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    let shown = differing.iter().take(20).map(|&at| format!("- {}\n+ {}", line(one, at), line(other, at)));
    let shown: Vec<String> = shown.collect();
    (!differing.is_empty()).then(|| format!("{} of {} lines differ:\n{}", differing.len(), one.len(), shown.join("\n")))
}

impl Origin {
    fn plain(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let plain = |(key, value): (&String, &Value)| (self.text(key), self.plain(key, value));
                Value::Object(fields.iter().map(plain).collect::<Map<_, _>>())
            }
            Value::Array(values) if values.len() > MANY => json!(format!("<{} entries>", values.len())),
            Value::Array(values) => values.iter().map(|value| self.plain(key, value)).collect(),
            Value::Number(number) => match (key, number.as_i64()) {
                ("revision" | "head_revision" | "superseded_revision" | "since_revision", Some(revision))
                    if revision > 0 =>
                {
                    json!(format!("+{}", revision - self.revision))
                }
                ("retry_after_ms", _) => json!("<ms>"),
                _ => value.clone(),
            },
            Value::String(text) => match key {
                "digest" => json!("<digest>"),
                "timestamp" | "created_at" | "updated_at" => json!("<time>"),
                // Every refusal has words of its own.
                "message" | "hint" => json!("<words>"),
                _ if text.len() > LONG => json!(format!("<{} bytes>", text.len())),
                _ => json!(self.text(text)),
            },
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let text = text.replace(&self.run, "run");
        match uuid::Uuid::try_parse(&text) {
            Ok(_) => "<id>".into(),
            Err(_) => text,
        }
    }
}
