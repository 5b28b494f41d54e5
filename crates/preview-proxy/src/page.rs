//! The pages that the agent shows in place of the preview.

use serde_json::json;

use crate::reply::Failure;
use crate::{Lines, Stage, View};

const WAITING: &str = include_str!("page.html");
/// Lines of output on the page.
const LINES: usize = 20;
/// Characters of one line.
const LINE_CHARS: usize = 400;

/// What the page shows, as JSON on one line.
pub(crate) fn state(view: &View, lines: &Lines) -> String {
    let failed = view.stage == Stage::Failed;
    json!({
        "phase": view.phase,
        "stage": view.stage,
        "title": view.stage.title(),
        "failed": failed,
        "detail": view.detail.as_deref().map(shortened),
        "reasons": view.reasons,
        "progress": view.progress,
        "lines": last_lines(lines),
    })
    .to_string()
}

/// The page that follows the agent until the preview answers.
pub(crate) fn waiting(view: &View, lines: &Lines) -> String {
    let state = state(view, lines);
    filled(view.stage.title(), &advice(view), &last_lines(lines), Some(&state))
}

/// The page for a dev server that was asked and gave no usable answer. It does not reload itself.
pub(crate) fn broken(failure: Failure, detail: &str, lines: &Lines) -> String {
    let title = match failure {
        Failure::NoAnswer => "The dev server did not answer in time",
        Failure::BadAnswer | Failure::NotReady => "The dev server's answer was broken",
    };
    filled(title, &format!("{}: {detail}. Load the page again to retry.", failure.code()), &last_lines(lines), None)
}

/// The page for who has no right to the preview.
pub(crate) fn no_access() -> String {
    let text = "This preview is private. Open it with the link that you were given: it carries the access token.";
    filled("No access to this preview", text, &[], None)
}

fn advice(view: &View) -> String {
    let reasons = view.reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.advice));
    let detail = view.detail.iter().map(|detail| shortened(detail));
    reasons.chain(detail).collect::<Vec<_>>().join(". ")
}

fn last_lines(lines: &Lines) -> Vec<String> {
    lines(LINES).iter().map(|line| shortened(line)).collect()
}

fn shortened(line: &str) -> String {
    line.chars().filter(|char| !char.is_control() || *char == '\t').take(LINE_CHARS).collect()
}

fn filled(title: &str, text: &str, lines: &[String], state: Option<&str>) -> String {
    // JSON inside of a script element: nothing may close it.
    let state = state.map_or("null".to_owned(), |state| state.replace('<', "\\u003c"));
    let refresh = if state == "null" { "" } else { "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>" };
    // Each place begins with `%`.
    let values = [
        ("REFRESH%", refresh.to_owned()),
        ("TITLE%", escaped(title)),
        ("TEXT%", escaped(text)),
        ("LINES%", escaped(&lines.join("\n"))),
        ("STATE%", state),
    ];
    let mut page = String::with_capacity(WAITING.len());
    let mut rest = WAITING;
    // One pass, so that a value is never taken for a place.
    while let Some((before, after)) = rest.split_once('%') {
        page.push_str(before);
        let place = values.iter().find_map(|(name, value)| Some((value.as_str(), after.strip_prefix(name)?)));
        let (text, after) = place.unwrap_or(("%", after));
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Reason;

    fn failed() -> (View, Lines) {
        let reasons = vec![Reason { code: "config_error".to_owned(), advice: "fix it" }];
        let detail = Some("<img src=x onerror=alert(1)> %STATE%".to_owned());
        let view = View { phase: "serving", stage: Stage::Failed, reasons, detail, progress: None, upstream: None };
        (view, Arc::new(|count| vec!["</script><script>alert(1)</script>".to_owned(); count]))
    }

    #[test]
    fn output_of_the_project_is_text_and_never_markup() {
        let (view, lines) = failed();
        let page = waiting(&view, &lines);
        assert!(!page.contains("<img") && !page.contains("<script>alert"));
        assert_eq!(page.matches("</script>").count(), WAITING.matches("</script>").count());
        assert!(page.contains("config_error: fix it"));
        assert!(!page.contains("%TITLE%") && page.contains("%STATE%"));
    }

    #[test]
    fn it_is_one_small_file_that_loads_nothing() {
        assert!(WAITING.len() <= 12 << 10, "{} bytes", WAITING.len());
        for needed in ["aria-live", "prefers-color-scheme", "width=device-width", "%REFRESH%"] {
            assert!(WAITING.contains(needed), "{needed}");
        }
        for loading in ["src=", "<link", "@import", "url("] {
            assert!(!WAITING.contains(loading), "{loading}");
        }
        let (view, lines) = failed();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&state(&view, &lines)).expect("JSON")["lines"]
                .as_array()
                .map(Vec::len),
            Some(LINES)
        );
        assert!(!broken(Failure::BadAnswer, "x", &lines).contains("http-equiv"));
    }
}
