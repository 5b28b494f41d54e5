//! A problem as it is shown: bounded, with an id that the same fault has each time.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sync_core::wire::rfc3339_of;
use sync_core::{Revision, Time};

use crate::{Finding, Kind};

/// Bytes of a problem's message. The five bounds together are the 8 KiB that a problem may have.
const MESSAGE: usize = 2048;
/// Bytes of its frame.
const FRAME: usize = 2048;
/// Bytes of its stack.
const STACK: usize = 3072;
/// Bytes of its path. A longer one is no path of a project.
const PATH: usize = 512;
/// Bytes of its page.
const PAGE: usize = 512;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, since the agent's start.
    pub time: Time,
    /// The wall clock, in Unix milliseconds.
    pub unix_ms: u64,
}

/// 16 hex digits: the same for the same kind, message and place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProblemId(String);

impl ProblemId {
    fn of(finding: &Finding) -> ProblemId {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update(text.as_bytes());
            hash.update([0]);
        };
        part(finding.kind.as_str());
        part(&finding.message);
        if let Some(place) = &finding.place {
            part(&place.file_path);
            part(&place.line.unwrap_or(0).to_string());
            part(&place.column.unwrap_or(0).to_string());
        }
        let digest = hash.finalize();
        ProblemId(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something that is wrong in the preview now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Names it.
    pub id: ProblemId,
    /// What was found, within the bounds.
    pub finding: Finding,
    /// The revision that was known when it was first seen.
    pub revision: Revision,
    /// How often it was seen.
    pub count: u64,
    /// When it was first seen, in Unix milliseconds.
    pub first_at: u64,
    /// When it was last seen, in Unix milliseconds.
    pub last_at: u64,
}

impl Problem {
    pub(crate) fn new(finding: Finding, revision: Revision, unix_ms: u64) -> Problem {
        let finding = bounded(finding);
        let id = ProblemId::of(&finding);
        Problem { id, finding, revision, count: 1, first_at: unix_ms, last_at: unix_ms }
    }

    /// Whether the preview counts as broken while it is open.
    pub fn is_blocking(&self) -> bool {
        !matches!(self.finding.kind, Kind::Console | Kind::Type)
    }

    /// The fields as docs/protocol.md has them; what is not known is left out.
    pub fn to_json(&self) -> Map<String, Value> {
        let finding = &self.finding;
        let place = finding.place.as_ref();
        let fields = [
            ("id", json!(self.id.as_str())),
            ("kind", json!(finding.kind.as_str())),
            ("message", json!(finding.message)),
            ("code", json!(finding.code)),
            ("file_path", json!(place.map(|place| &place.file_path))),
            ("line", json!(place.and_then(|place| place.line))),
            ("column", json!(place.and_then(|place| place.column))),
            ("frame", json!(finding.frame)),
            ("stack", json!(finding.stack)),
            ("page", json!(finding.page)),
            ("revision", json!(self.revision)),
            ("count", json!(self.count)),
            ("first_at", json!(rfc3339_of(self.first_at))),
            ("last_at", json!(rfc3339_of(self.last_at))),
        ];
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The place as people write it: `src/App.tsx:12:5`; none where it is not known.
    pub fn place_text(&self) -> Option<String> {
        let place = self.finding.place.as_ref()?;
        let numbers = [place.line, place.line.and(place.column)];
        let numbers = numbers.into_iter().flatten().map(|number| format!(":{number}"));
        Some(format!("{}{}", place.file_path, numbers.collect::<String>()))
    }
}

fn bounded(finding: Finding) -> Finding {
    let Finding { kind, message, code, mut place, frame, stack, page } = finding;
    if let Some(place) = &mut place {
        place.file_path = cut(std::mem::take(&mut place.file_path), PATH);
    }
    let message = cut(message, MESSAGE);
    let [frame, stack, page] = [(frame, FRAME), (stack, STACK), (page, PAGE)]
        .map(|(text, limit)| text.filter(|text| !text.trim().is_empty()).map(|text| cut(text, limit)));
    Finding { kind, message, code, place, frame, stack, page }
}

/// The first `limit` bytes, cut between two characters.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate((0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    fn finding(message: &str) -> Finding {
        let place = Some(Place { file_path: "src/App.tsx".into(), line: Some(12), column: Some(5) });
        Finding { place, ..Finding::new(Kind::Build, message) }
    }

    #[test]
    fn id_depends_on_kind_message_and_place_only() {
        let id = |finding| Problem::new(finding, 1, 1).id;
        let base = id(finding("a"));
        assert_eq!(base.as_str().len(), 16);
        assert!(base.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(base, id(Finding { stack: Some("s".into()), frame: Some("f".into()), ..finding("a") }));
        assert_ne!(base, id(finding("b")));
        assert_ne!(base, id(Finding { kind: Kind::Runtime, ..finding("a") }));
        assert_ne!(base, id(Finding { place: None, ..finding("a") }));
    }

    #[test]
    fn texts_have_at_most_8_kib() {
        let long = "ä".repeat(100_000);
        let place = Some(Place { file_path: long.clone(), line: None, column: None });
        let texts = [(); 3].map(|()| Some(long.clone()));
        let [frame, stack, page] = texts;
        let problem = Problem::new(Finding { frame, stack, page, place, ..finding(&long) }, 1, 1);
        let found = &problem.finding;
        let texts = [Some(&found.message), found.frame.as_ref(), found.stack.as_ref(), found.page.as_ref()];
        let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        let bytes = bytes + found.place.as_ref().map_or(0, |place| place.file_path.len());
        assert!(bytes <= 8192 && bytes > 8000, "{bytes}");
    }

    #[test]
    fn json_leaves_out_what_is_not_known() {
        let problem = Problem::new(Finding { frame: Some(" ".into()), ..finding("a") }, 41, 0);
        let fields = problem.to_json();
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        let wanted =
            ["column", "count", "file_path", "first_at", "id", "kind", "last_at", "line", "message", "revision"];
        assert_eq!(names, wanted);
        assert_eq!(fields["first_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(problem.place_text().as_deref(), Some("src/App.tsx:12:5"));
    }
}
