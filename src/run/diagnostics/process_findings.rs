//! Failures of the install and of the dev server as findings.

use diagnostics::{Finding, Kind, Place, ProjectRoot, frame, is_source};
use supervisor::dev_server::{DevServerStatus, FaultReason};

use super::project_files::ProjectFiles;

/// Lines of output in which the place of a failure is looked for.
pub(super) const LINES: usize = 60;

/// What is wrong by the supervisor's status: of the install, and of the dev server. `lines` is its last output, the oldest
/// first; `exists` tells whether a file is in the project.
pub(super) fn findings(
    status: &DevServerStatus,
    lines: &[String],
    root: &ProjectRoot,
    exists: impl Fn(&str) -> bool,
) -> (Option<Finding>, Option<Finding>) {
    let Some(reason) = status.reason else { return (None, None) };
    let detail = root.clean(status.detail.as_deref().unwrap_or(reason.as_str()));
    let message = match detail.split_once(": ") {
        Some((what, _)) if reason == FaultReason::ConfigError => match cause_in(lines) {
            Some(cause) => format!("{what}: {}", root.clean(cause)),
            None => detail,
        },
        _ => detail,
    };
    let kind = if reason == FaultReason::InstallFailed { Kind::Install } else { Kind::Server };
    let place = match reason {
        FaultReason::ConfigError | FaultReason::Crashed => place_in(lines, root, exists),
        _ => None,
    };
    let finding = Finding { code: Some(reason.as_str()), place, ..Finding::new(kind, message) };
    match kind {
        Kind::Install => (Some(finding), None),
        _ => (None, Some(finding)),
    }
}

/// The lines of the source around the finding's place.
pub(super) fn frame_of(finding: &Finding, files: &ProjectFiles) -> Option<String> {
    let place = finding.place.as_ref()?;
    frame(&files.text(&place.file_path)?, place.line?, place.column)
}

/// The last error that a dev server has printed in `lines`, for an answer that does not describe it.
pub(super) fn error_in_output(lines: &[String], root: &ProjectRoot, exists: impl Fn(&str) -> bool) -> Option<Finding> {
    let is_place = |line: &String| line.trim().strip_prefix("⨯ ").is_some_and(|rest| place_of(rest).is_some());
    let names_error = |line: &str| line.contains("Error") || line.starts_with("ERROR ");
    let is_detail = |line: &str| line.starts_with("at ") || line.starts_with("WARN ");
    let is_error = |line: &String| is_place(line) || names_error(line.trim()) && !is_detail(line.trim());
    let mut at = lines.iter().rposition(is_error)?;
    // Next prints the place first, and the error in the line after it.
    if at.checked_sub(1).and_then(|before| lines.get(before)).is_some_and(is_place) {
        at = at.saturating_sub(1);
    }
    let lines = lines.get(at..)?;
    let described = if is_place(lines.first()?) { lines.get(1)? } else { lines.first()? };
    let line = root.clean(described);
    let line = line.trim().strip_prefix("ERROR ").map_or(line.as_str(), str::trim);
    let line = line.split_once("Error when evaluating SSR module ").map_or(line, |(_, rest)| rest);
    let message = match line.split_once(": ") {
        // The module that was evaluated, and then the error.
        Some((module, rest)) if module.starts_with('/') => rest,
        _ => line.find("Error").and_then(|at| line.get(..at)).map_or(line, |before| {
            let start = before.rfind(' ').map_or(0, |space| space.saturating_add(1));
            line.get(start..).unwrap_or(line)
        }),
    };
    let message = match message.split_once(' ') {
        Some((first, rest)) if place_of(first).is_some() => rest,
        _ => message,
    };
    // Vite names the file that loads what is missing.
    let named = message.split_once(" in ").and_then(|(_, rest)| rest.strip_suffix(". Does the file exist?"));
    let named = named.filter(|path| exists(path));
    let named = named.map(|path| Place { file_path: path.to_owned(), line: None, column: None });
    let place = place_in(lines, root, &exists).or(named);
    Some(Finding { place, ..Finding::new(Kind::Build, message) })
}

/// The lines of the last failure to load a configuration.
fn last_failure(lines: &[String]) -> &[String] {
    let start = lines.iter().rposition(|line| line.contains("failed to load config")).unwrap_or(0);
    lines.get(start..).unwrap_or(lines)
}

/// The error in the lines of the last failure, without what stands before it.
fn cause_in(lines: &[String]) -> Option<&str> {
    last_failure(lines).iter().find_map(|line| {
        let (_, cause) = line.split_once("_ERROR] ").or_else(|| line.split_once("ERROR: ")).or_else(|| {
            let at = line.find("Error: ").filter(|_| !line.contains("Build failed"))?;
            let start = line.get(..at)?.rfind(' ').map_or(0, |space| space.saturating_add(1));
            Some(("", line.get(start..)?))
        })?;
        Some(cause.trim())
    })
}

/// The first place of a project's file in the last failure that the lines show.
fn place_in(lines: &[String], root: &ProjectRoot, exists: impl Fn(&str) -> bool) -> Option<Place> {
    last_failure(lines).iter().find_map(|line| {
        let line = root.clean(line);
        let words = line.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | ',' | '"' | '\''));
        words.filter_map(place_of).find(|place| exists(&place.file_path))
    })
}

/// `path:line:column` or `path:line`.
fn place_of(word: &str) -> Option<Place> {
    let word = word.trim_end_matches(':');
    let (rest, last) = word.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    let (path, line, column) = match rest.rsplit_once(':').map(|(path, line)| (path, line.parse())) {
        Some((path, Ok(line))) => (path, line, Some(last)),
        _ => (rest, last, None),
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    let is_project = is_source(path) && !path.starts_with('/') && !path.contains("node_modules/");
    is_project.then(|| Place { file_path: path.to_owned(), line: Some(line), column })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_configuration_has_its_place() {
        let lines = [
            "src/old.ts:1:1",
            "error when starting dev server:",
            "failed to load config from /p/vite.config.js",
            "12:00:00 PM [vite] Build failed with 1 error:",
            "[PARSE_ERROR] Unexpected token",
            "    ╭─[ vite.config.js:9:7 ]",
            "    at x (/p/node_modules/vite/dist/a.js:1:2)",
        ];
        let lines = lines.map(str::to_owned);
        let status = DevServerStatus {
            reason: Some(FaultReason::ConfigError),
            detail: Some("failed to load config from /p/vite.config.js: Error: x".into()),
            ..DevServerStatus::default()
        };
        let root = ProjectRoot::new(["/p".to_owned()]);
        let (install, server) = findings(&status, &lines, &root, |path| path == "vite.config.js");
        let server = server.expect("a finding");
        assert!(install.is_none());
        assert_eq!((server.kind, server.code), (Kind::Server, Some("config_error")));
        assert_eq!(server.message, "failed to load config from vite.config.js: Unexpected token");
        let cause = |line: &str| cause_in(&[line.to_owned()]).map(str::to_owned);
        assert_eq!(cause("x.js:9:6: ERROR: Unexpected \"=\""), Some("Unexpected \"=\"".to_owned()));
        assert_eq!(cause("  ReferenceError: x is not defined"), Some("ReferenceError: x is not defined".to_owned()));
        assert_eq!(server.place, Some(Place { file_path: "vite.config.js".into(), line: Some(9), column: Some(7) }));
        assert_eq!(place_of("vite.config.ts:9:6:").map(|place| place.line), Some(Some(9)));
        assert_eq!(place_of("12:30:45"), None);
    }

    #[test]
    fn error_in_the_output_has_its_place() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let root = ProjectRoot::new(["/p".to_owned()]);
        let found =
            |text: &str| error_in_output(&lines(text), &root, |path| path.starts_with("src/")).expect("an error");
        let evaluated = found(
            "1:03:30 PM [vite] (ssr) Error when evaluating SSR module /src/routes/+page.svelte: /p/src/lib/Note.svelte:4:12 Expected token }\n  File: /p/src/lib/Note.svelte:4:12",
        );
        assert_eq!(evaluated.message, "Expected token }");
        let place = evaluated.place.expect("a place");
        assert_eq!((place.file_path.as_str(), place.line, place.column), ("src/lib/Note.svelte", Some(4), Some(12)));
        let thrown = found(
            "[500] GET /\nTypeError: Cannot read properties of null (reading 'boom')\n    at /p/src/routes/+page.svelte:2:21\n    at /p/node_modules/x.js:1:1",
        );
        assert_eq!(thrown.message, "TypeError: Cannot read properties of null (reading 'boom')");
        assert_eq!(thrown.place.map(|place| place.line), Some(Some(2)));
        let next = found("⨯ ./src/note.jsx:2:1\nError: Module not found: Can't resolve './nope'\n  1 | x");
        assert_eq!(next.message, "Error: Module not found: Can't resolve './nope'");
        assert_eq!(next.place.map(|place| (place.file_path, place.line)), Some(("src/note.jsx".to_owned(), Some(2))));
        let parse = found("⨯ ./src/note.jsx:3:22\nParsing ecmascript source code failed");
        assert_eq!(parse.message, "Parsing ecmascript source code failed");
        let nuxt =
            found("ERROR  /pages/index.vue — Unexpected token (3:6)\n    at x\nWARN  [NUXT_E8003] DevalueError: no");
        assert_eq!(nuxt.message, "/pages/index.vue — Unexpected token (3:6)");
        assert_eq!(error_in_output(&lines("all is well"), &root, |_| true), None);
    }

    #[test]
    fn failed_install_is_one_of_its_kind() {
        let status = DevServerStatus {
            reason: Some(FaultReason::InstallFailed),
            detail: Some("npm exit status: 1: E404".into()),
            ..DevServerStatus::default()
        };
        let (install, server) = findings(&status, &[], &ProjectRoot::new([]), |_| false);
        assert_eq!(install.map(|finding| (finding.kind, finding.code)), Some((Kind::Install, Some("install_failed"))));
        assert!(server.is_none());
    }
}
