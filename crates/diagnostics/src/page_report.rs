//! What the script in a page sends. It is text of the project's code: bounded, and evidence of nothing but that a page sent it.

use serde::Deserialize;

use crate::Kind;

/// Characters of a page's id.
const MAX_ID: usize = 32;
/// Events of one report. The script sends at most 20 errors and a few others.
const MAX_EVENTS: usize = 64;
/// Bytes of a page's path, and of an address.
const MAX_URL: usize = 1024;
/// Bytes of a message.
const MAX_MESSAGE: usize = 2048;
/// Bytes of a stack. With the message it stays below the 8 KiB of a problem.
const MAX_STACK: usize = 5120;

/// Names one load of one document; made by the page at random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(String);

#[cfg(test)]
impl PageId {
    pub(crate) fn for_test(id: impl ToString) -> PageId {
        PageId(id.to_string())
    }
}

/// What happened in one page since its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageReport {
    /// Which load of which document.
    pub id: PageId,
    /// Its path, without query.
    pub page: String,
    /// In the order in which they happened.
    pub events: Vec<PageEvent>,
    /// Errors that were not passed on, because there were too many.
    pub omitted: u64,
}

/// One thing that happened in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEvent {
    /// The document was loaded (`load`).
    Loaded,
    /// It took an update without a load.
    Updated,
    /// The dev server's client in the page reports that the update failed.
    UpdateFailed {
        /// Its message.
        message: String,
    },
    /// It was closed, or left for another page.
    Left,
    /// An uncaught error, an unhandled rejection, `console.error`, or something that could not be loaded.
    Error {
        /// `Runtime`, `Console` or `Resource`.
        kind: Kind,
        /// The error's message.
        message: String,
        /// Its stack, as the browser wrote it.
        stack: Option<String>,
        /// The address of the script, or of what could not be loaded.
        url: Option<String>,
        /// Position in the script as it was served, beginning at 1.
        line: Option<u32>,
        /// Beginning at 1.
        column: Option<u32>,
        /// How often it happened since the last report; at least 1.
        count: u32,
    },
}

impl PageId {
    /// An id of digits and lower case letters.
    fn parse(text: String) -> Result<PageId, PageReportError> {
        let is_clean = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        match text.len() {
            1..=MAX_ID if is_clean => Ok(PageId(text)),
            _ => Err(PageReportError::new("`id` is not 1 to 32 digits and lower case letters")),
        }
    }
}

impl PageReport {
    /// Reads the JSON of a report: texts are cut, control characters removed.
    ///
    /// # Errors
    /// It is not JSON, a field is missing or has another type, an event or a kind is unknown, or there are too many events.
    pub fn parse(json: &[u8]) -> Result<PageReport, PageReportError> {
        let wire: WireReport = serde_json::from_slice(json).map_err(|error| PageReportError(error.to_string()))?;
        if wire.events.len() > MAX_EVENTS {
            return Err(PageReportError::new("`events` has more than 64 entries"));
        }
        let page = clean(&wire.page, MAX_URL, Lines::One);
        let page = page.split(['?', '#']).next().unwrap_or_default().to_owned();
        if !page.starts_with('/') {
            return Err(PageReportError::new("`page` is not a path"));
        }
        let events = wire.events.into_iter().map(PageEvent::from_wire).collect::<Result<_, _>>()?;
        Ok(PageReport { id: PageId::parse(wire.id)?, page, events, omitted: wire.omitted })
    }

    /// Takes the errors out, and returns how many there were, with those that were omitted before.
    pub fn take_errors(&mut self) -> u64 {
        let mut taken = std::mem::take(&mut self.omitted);
        self.events.retain(|event| match event {
            PageEvent::Error { count, .. } => {
                taken = taken.saturating_add(u64::from(*count));
                false
            }
            _ => true,
        });
        taken
    }
}

impl PageEvent {
    fn from_wire(wire: WireEvent) -> Result<PageEvent, PageReportError> {
        Ok(match wire {
            WireEvent::Loaded => PageEvent::Loaded,
            WireEvent::Updated => PageEvent::Updated,
            WireEvent::UpdateFailed { message } => {
                PageEvent::UpdateFailed { message: clean(&message, MAX_MESSAGE, Lines::Many) }
            }
            WireEvent::Left => PageEvent::Left,
            WireEvent::Error { kind, message, stack, url, line, column, count } => PageEvent::Error {
                kind: match kind {
                    WireKind::Runtime => Kind::Runtime,
                    WireKind::Console => Kind::Console,
                    WireKind::Resource => Kind::Resource,
                },
                message: clean(&message, MAX_MESSAGE, Lines::Many),
                stack: stack.map(|stack| clean(&stack, MAX_STACK, Lines::Many)).filter(|stack| !stack.is_empty()),
                url: url.map(|url| clean(&url, MAX_URL, Lines::One)).filter(|url| !url.is_empty()),
                line: line.filter(|line| *line > 0),
                column: column.filter(|column| *column > 0),
                count: count.max(1),
            },
        })
    }
}

/// A body that is not a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a report of a page: {0}")]
pub struct PageReportError(String);

impl PageReportError {
    fn new(text: &str) -> PageReportError {
        PageReportError(text.to_owned())
    }
}

/// Whether a text may have more than one line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

/// The text without control characters and without characters that change the direction of what follows, cut to `max` bytes.
fn clean(text: &str, max: usize, lines: Lines) -> String {
    let mut cleaned = String::new();
    for char in text.chars() {
        let keep = match char {
            '\n' | '\t' => lines == Lines::Many,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
            char => !char.is_control(),
        };
        if cleaned.len().saturating_add(char.len_utf8()) > max {
            break;
        }
        if keep {
            cleaned.push(char);
        }
    }
    cleaned
}

/// The JSON of a report, before it is bounded.
#[derive(Debug, Deserialize)]
struct WireReport {
    id: String,
    page: String,
    events: Vec<WireEvent>,
    #[serde(default)]
    omitted: u64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireEvent {
    Loaded,
    Updated,
    UpdateFailed {
        message: String,
    },
    Left,
    Error {
        kind: WireKind,
        message: String,
        stack: Option<String>,
        url: Option<String>,
        line: Option<u32>,
        column: Option<u32>,
        #[serde(default)]
        count: u32,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireKind {
    Runtime,
    Console,
    Resource,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(value: &serde_json::Value) -> Result<PageReport, PageReportError> {
        PageReport::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_report_is_read_as_the_script_sends_it() {
        let report = parse(&json!({"id": "0af3", "page": "/settings?tab=1", "omitted": 2, "events": [
            {"type": "loaded"}, {"type": "updated"}, {"type": "update_failed", "message": "no"}, {"type": "left"},
            {"type": "error", "kind": "runtime", "message": "x is undefined", "stack": "Error: x\n    at App",
             "url": "http://localhost/src/App.jsx", "line": 3, "column": 0, "count": 7, "new_field": 1},
        ]}))
        .expect("a report");
        assert_eq!((report.page.as_str(), report.omitted), ("/settings", 2));
        let error = PageEvent::Error {
            kind: Kind::Runtime,
            message: "x is undefined".to_owned(),
            stack: Some("Error: x\n    at App".to_owned()),
            url: Some("http://localhost/src/App.jsx".to_owned()),
            line: Some(3),
            column: None,
            count: 7,
        };
        let failed = PageEvent::UpdateFailed { message: "no".to_owned() };
        assert_eq!(report.events, [PageEvent::Loaded, PageEvent::Updated, failed, PageEvent::Left, error]);
    }

    #[test]
    fn errors_are_counted_when_they_are_taken_out() {
        let error = json!({"type": "error", "kind": "console", "message": "m", "count": 4_000_000_000_u32});
        let mut report =
            parse(&json!({"id": "a", "page": "/", "omitted": 5, "events": [error, {"type": "left"}, error]}))
                .expect("a report");
        assert_eq!(report.take_errors(), 8_000_000_005);
        assert_eq!((report.events, report.omitted), (vec![PageEvent::Left], 0));
    }

    #[test]
    fn what_is_not_a_report_is_refused() {
        let error = |kind| json!([{"type": "error", "kind": kind, "message": "m"}]);
        let many = vec![json!({"type": "loaded"}); MAX_EVENTS + 1];
        for (what, value) in [
            ("kind", json!({"id": "a", "page": "/", "events": error("build")})),
            ("event", json!({"id": "a", "page": "/", "events": [{"type": "run"}]})),
            ("many", json!({"id": "a", "page": "/", "events": many})),
            ("page", json!({"id": "a", "page": "http://evil.test/", "events": []})),
            ("id", json!({"id": "A b", "page": "/", "events": []})),
            ("no id", json!({"id": "", "page": "/", "events": []})),
            ("long id", json!({"id": "a".repeat(MAX_ID + 1), "page": "/", "events": []})),
            ("count", json!({"id": "a", "page": "/", "events": [], "omitted": -1})),
            ("list", json!([])),
        ] {
            assert!(parse(&value).is_err(), "{what}");
        }
    }

    #[test]
    fn texts_are_cut_and_have_no_control_characters() {
        let long = format!("a\u{1b}[31m\u{202e}\n{}", "é".repeat(10_000));
        let report = parse(&json!({"id": "a", "page": format!("/\n{long}"), "events": [
            {"type": "error", "kind": "resource", "message": long, "stack": long, "url": long},
        ]}))
        .expect("a report");
        assert!(report.page.starts_with("/a[31mé") && report.page.len() <= MAX_URL);
        let Some(PageEvent::Error { message, stack: Some(stack), url: Some(url), .. }) = report.events.first() else {
            panic!("{report:?}")
        };
        assert!(message.starts_with("a[31m\né") && message.len() <= MAX_MESSAGE, "{message}");
        assert!(stack.len() <= MAX_STACK && url.len() <= MAX_URL && !url.contains('\n'));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_report_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PageReport::parse(&bytes);
        }
    }
}
