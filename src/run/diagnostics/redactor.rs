//! Blacks out secrets in findings.

use std::collections::BTreeMap;

use diagnostics::{Finding, Input, PageChange};
use secrecy::SecretString;

use crate::sync::scrub::redact;

/// Words in the names of variables whose values are secrets.
const SECRET_NAMES: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"];
/// Shorter values are no secrets, and would be found in ordinary text.
const SHORTEST: usize = 8;

/// The secrets that this agent knows.
#[derive(Debug, Clone)]
pub(in crate::run) struct Redactor(Vec<SecretString>);

impl Redactor {
    /// The values of `environment` whose names say that they are secrets, and `secrets`.
    pub(in crate::run) fn new(
        environment: &BTreeMap<String, String>,
        secrets: impl IntoIterator<Item = SecretString>,
    ) -> Redactor {
        let is_secret = |name: &str| SECRET_NAMES.iter().any(|word| name.to_ascii_uppercase().contains(word));
        let named = environment.iter().filter(|(name, value)| is_secret(name) && value.len() >= SHORTEST);
        Redactor(named.map(|(_, value)| value.clone().into()).chain(secrets).collect())
    }

    /// The same observation without secrets.
    pub(super) fn input(&self, input: Input) -> Input {
        match input {
            Input::Found(source, findings) => {
                Input::Found(source, findings.into_iter().map(|finding| self.finding(finding)).collect())
            }
            Input::Page(id, path, change) => {
                let change = match change {
                    PageChange::Error(finding, count) => PageChange::Error(self.finding(finding), count),
                    PageChange::UpdateFailed(finding) => PageChange::UpdateFailed(self.finding(finding)),
                    other => other,
                };
                Input::Page(id, path, change)
            }
            other => other,
        }
    }

    /// The same finding without secrets.
    pub(super) fn finding(&self, finding: Finding) -> Finding {
        let text = |text: String| redact(&text, &self.0);
        let Finding { kind, message, code, place, frame, stack, page } = finding;
        let (message, page) = (text(message), page.map(text));
        Finding { kind, message, code, place, frame: frame.map(text), stack: stack.map(text), page }
    }
}
