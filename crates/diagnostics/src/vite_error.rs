//! Errors of Vite as findings: what it answers with status 500, and the `error` messages of its HMR channel.

use serde_json::Value;

use crate::project_root::ProjectRoot;
use crate::{Finding, Kind, Place};

/// Lines of the source before and after the place in a frame.
const FRAME_LINES: usize = 2;

/// The error in the body of a 500 answer: `const error = {…}` in the page that shows the overlay, or JSON.
pub fn error_in_body(body: &str) -> Option<Value> {
    let script = body.split_once("const error = ").map(|(_, script)| script);
    let mut values = serde_json::Deserializer::from_str(script.unwrap_or(body)).into_iter::<Value>();
    values.next()?.ok().filter(Value::is_object)
}

/// The finding that Vite's error object describes. `fallback`: the file that was asked for, where the error names none.
pub fn vite_finding(error: &Value, root: &ProjectRoot, fallback: Option<&str>) -> Finding {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let number = |name: &str| u32::try_from(error.pointer(name)?.as_u64()?).ok();
    let whole = root.clean(text("message").unwrap_or("the dev server cannot transform this module"));
    let named = error.pointer("/loc/file").and_then(Value::as_str).or_else(|| text("id"));
    let named = named.and_then(|path| root.relative(path)).or(fallback);
    let in_message = place_in_message(&whole);
    let (line, column) = match (number("/loc/line"), &in_message) {
        // Columns of Vite's plugins begin at 0.
        (Some(line), _) => (Some(line), number("/loc/column").map(|column| column.saturating_add(1))),
        (None, Some(place)) => (place.line, place.column),
        (None, None) => (None, None),
    };
    let file_path = named.map(str::to_owned).or_else(|| in_message.as_ref().map(|place| place.file_path.clone()));
    Finding {
        message: headline(&whole, file_path.as_deref()),
        place: file_path.map(|file_path| Place { file_path, line, column }),
        frame: text("frame").map(|frame| root.clean(frame)),
        stack: text("stack").map(|stack| root.clean(stack)),
        ..Finding::new(Kind::Build, "")
    }
}

/// `[ src/App.jsx:18:23 ]` in the drawing that Rolldown and Oxc make.
fn place_in_message(message: &str) -> Option<Place> {
    let inside =
        message.split('[').find_map(|part| part.strip_prefix(' ')?.split_once(" ]").map(|(inside, _)| inside))?;
    let (rest, column) = inside.rsplit_once(':')?;
    let (file_path, line) = rest.rsplit_once(':')?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    Some(Place { file_path: file_path.to_owned(), line: Some(line), column: Some(column) })
}

/// The sentence of a message: without its drawing, the plugin's name and the place, which have their own fields.
fn headline(message: &str, file_path: Option<&str>) -> String {
    let lines = || message.lines().map(str::trim).filter(|line| !line.is_empty());
    // `Transform failed with 1 error:` says nothing; the line after it does.
    let is_preface = |line: &&str| line.ends_with("error:") || line.ends_with("errors:");
    let line = lines().find(|line| !is_preface(line)).or_else(|| lines().next()).unwrap_or(message);
    let mut line = line;
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|inside| inside.split_once("] ")) {
        line = rest;
    }
    let without_path = file_path.and_then(|path| line.strip_prefix(path)).unwrap_or(line);
    without_path.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ').to_owned()
}

/// Corrects the place of an import that does not resolve, which Vite gives in the transformed code, and draws a frame where
/// there is none. `source` is the text of the finding's file.
pub fn with_source(mut finding: Finding, source: &str) -> Finding {
    let Some(place) = &mut finding.place else { return finding };
    if let Some(specifier) = unresolved(&finding.message)
        && let Some((line, column)) = position_of_import(source, specifier)
    {
        (place.line, place.column, finding.frame) = (Some(line), Some(column), None);
    }
    if finding.frame.is_none()
        && let Some(line) = place.line
    {
        finding.frame = frame(source, line, place.column);
    }
    finding
}

/// The specifier of `Failed to resolve import "x" from "y"`.
fn unresolved(message: &str) -> Option<&str> {
    message.strip_prefix("Failed to resolve import \"")?.split('"').next()
}

/// Where `specifier` stands in quotes, from 1.
fn position_of_import(source: &str, specifier: &str) -> Option<(u32, u32)> {
    let quoted = ['"', '\''].map(|quote| format!("{quote}{specifier}{quote}"));
    source.lines().zip(1..).find_map(|(line, number)| {
        let at = quoted.iter().find_map(|quoted| line.find(quoted.as_str()))?;
        let column = line.get(..at)?.encode_utf16().count();
        Some((number, u32::try_from(column).ok()?.saturating_add(1)))
    })
}

/// Where a quoted text ends with the name of the file at `address`, with its extension or without; from 1.
pub fn position_of_name(source: &str, address: &str) -> Option<(u32, u32)> {
    let path = address.split('?').next()?;
    let name = path.rsplit('/').next()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let ends =
        [name, stem].iter().flat_map(|name| ['"', '\''].map(|quote| format!("/{name}{quote}"))).collect::<Vec<_>>();
    source.lines().zip(1..).find_map(|(line, number)| {
        let end = ends.iter().find_map(|end| line.find(end.as_str()))?;
        let before = line.get(..end)?;
        let start = before.rfind(['"', '\'']).unwrap_or(0);
        let column = before.get(..start)?.encode_utf16().count();
        Some((number, u32::try_from(column).ok()?.saturating_add(1)))
    })
}

/// The lines around a place, with a mark below the column.
pub fn frame(source: &str, line: u32, column: Option<u32>) -> Option<String> {
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    let first = at.saturating_sub(FRAME_LINES);
    source.lines().nth(at)?;
    let last = at.saturating_add(FRAME_LINES);
    let numbered = (1_usize..).zip(source.lines()).enumerate();
    let shown: Vec<_> = numbered.skip(first).take_while(|(index, _)| *index <= last).collect();
    let width = shown.last().map_or(1, |(_, (number, _))| number.to_string().len());
    let mut text = String::new();
    for (index, (number, content)) in shown {
        text.push_str(&format!("{number:>width$} | {content}\n"));
        if let Some(column) = column.filter(|_| index == at) {
            let spaces = usize::try_from(column).ok()?.saturating_sub(1).min(content.chars().count());
            text.push_str(&format!("{:>width$} | {:spaces$}^\n", "", ""));
        }
    }
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root() -> ProjectRoot {
        ProjectRoot::new(["/p".to_owned()])
    }

    fn place(finding: &Finding) -> (&str, Option<u32>, Option<u32>) {
        let place = finding.place.as_ref().expect("a place");
        (&place.file_path, place.line, place.column)
    }

    #[test]
    fn syntax_errors_of_babel_and_oxc_have_one_form() {
        let babel = json!({
            "message": "/p/src/Notes.jsx: Unterminated JSX contents. (18:22)\n\n  16 | }\n> 18 | export const x = <div>;",
            "id": "/p/src/Notes.jsx", "frame": "18 | x", "plugin": "vite:react-babel", "loc": {"line": 18, "column": 22},
            "stack": "at a (/p/node_modules/x.js:1:1)",
        });
        let finding = vite_finding(&babel, &root(), None);
        assert_eq!(finding.message, "Unterminated JSX contents. (18:22)");
        assert_eq!(place(&finding), ("src/Notes.jsx", Some(18), Some(23)));
        assert_eq!(finding.stack.as_deref(), Some("at a (node_modules/x.js:1:1)"));

        let message =
            "Transform failed with 1 error:\n\n[PARSE_ERROR] Unexpected token\n    ╭─[ src/Notes.jsx:18:23 ]\n    │\n";
        let oxc = json!({"message": message, "id": "/p/src/Notes.jsx", "frame": "", "plugin": "vite:oxc"});
        let finding = with_source(vite_finding(&oxc, &root(), None), &"line\n".repeat(20));
        assert_eq!(finding.message, "Unexpected token");
        assert_eq!(place(&finding), ("src/Notes.jsx", Some(18), Some(23)));
        assert!(finding.frame.expect("a frame").contains("18 | line\n   |     ^"));
    }

    #[test]
    fn style_errors_do_not_repeat_their_place() {
        let error = json!({
            "message": "[postcss] /p/src/styles.css:138:1: Unclosed block", "id": "/p/src/styles.css",
            "loc": {"file": "/p/src/styles.css", "line": 138, "column": 0}, "frame": "138 | .a",
        });
        let finding = vite_finding(&error, &root(), None);
        assert_eq!(finding.message, "Unclosed block");
        assert_eq!(place(&finding), ("src/styles.css", Some(138), Some(1)));
    }

    #[test]
    fn unresolved_import_has_its_place_in_the_source() {
        let error = json!({
            "message": "Failed to resolve import \"./nope\" from \"src/App.tsx\". Does the file exist?",
            "id": "/p/src/App.tsx", "loc": {"file": "/p/src/App.tsx", "line": 1, "column": 14}, "frame": "18 | import",
        });
        let source = "type A = {\n  a: 1\n}\nimport x from './nope'\n";
        let finding = with_source(vite_finding(&error, &root(), None), source);
        assert_eq!(place(&finding), ("src/App.tsx", Some(4), Some(15)));
        assert_eq!(
            finding.frame.as_deref(),
            Some("2 |   a: 1\n3 | }\n4 | import x from './nope'\n  |               ^")
        );
        assert!(finding.message.starts_with("Failed to resolve import \"./nope\""));
    }

    #[test]
    fn name_of_a_file_is_found_in_what_imports_it() {
        let source = "import a from './b'\nimport Notes from './components/Notes'\n<script src=\"/src/main.jsx\">";
        assert_eq!(position_of_name(source, "/src/components/Notes.jsx?t=1"), Some((2, 19)));
        assert_eq!(position_of_name(source, "/src/main.jsx"), Some((3, 13)));
        assert_eq!(position_of_name(source, "/src/other.jsx"), None);
    }

    #[test]
    fn error_is_read_from_the_overlay_page() {
        let body = "<html><script type=\"module\">\nconst error = {\"message\":\"a \\u003cdiv>\"}\ntry {</script>";
        assert_eq!(error_in_body(body), Some(json!({"message": "a <div>"})));
        assert_eq!(error_in_body("{\"message\":\"x\"}"), Some(json!({"message": "x"})));
        assert_eq!(error_in_body("Internal Server Error"), None);
        let finding = vite_finding(&json!({}), &root(), Some("src/a.js"));
        assert_eq!(place(&finding), ("src/a.js", None, None));
        assert!(!finding.message.is_empty());
    }
}
