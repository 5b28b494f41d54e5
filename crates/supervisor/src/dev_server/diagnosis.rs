use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::Reason;

/// SIGKILL, as a shell reports it.
const KILLED: i32 = 137;

/// What a dev server's end looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

/// Says why a dev server ended by itself, from its status, its last lines (oldest first) and whether the kernel killed
/// something for want of memory since it was started.
pub(super) fn diagnose<'a>(status: ExitStatus, lines: impl Iterator<Item = &'a str>, oom: bool) -> Diagnosis {
    let killed = status.signal() == Some(9) || status.code() == Some(KILLED);
    if killed && oom {
        return Diagnosis { reason: Reason::OomKilled, detail: "the kernel killed it: out of memory".into() };
    }
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    if !status.success()
        && let Some(told) = lines.iter().enumerate().find_map(|(at, line)| told_by(line, &lines[at + 1..]))
    {
        return told;
    }
    match status.code() {
        Some(0) => Diagnosis { reason: Reason::Exited, detail: "it exited with status 0".into() },
        _ => {
            let last = lines.iter().rev().find(|line| line.contains("Error")).or(lines.last());
            let detail = last.map_or(status.to_string(), |last| format!("{status}: {last}"));
            Diagnosis { reason: Reason::Crashed, detail }
        }
    }
}

/// What a line of Node or Vite gives away. `after` is what follows it.
fn told_by(line: &str, after: &[&str]) -> Option<Diagnosis> {
    let found = |reason, detail: &str| Some(Diagnosis { reason, detail: detail.to_owned() });
    if line.contains("EADDRINUSE") || (line.contains("Port ") && line.contains(" is already in use")) {
        return found(Reason::PortInUse, line);
    }
    if missing_package(line) {
        return found(Reason::DependencyMissing, line);
    }
    if line.contains("failed to load config") {
        // A configuration that cannot be loaded for want of a package wants an install, not an edit.
        if let Some(missing) = after.iter().find(|line| missing_package(line)) {
            return found(Reason::DependencyMissing, missing);
        }
        return found(Reason::ConfigError, &with_error(line, after));
    }
    None
}

/// The line that says that a configuration cannot be loaded, and the error behind it.
fn with_error(line: &str, after: &[&str]) -> String {
    let error = after.iter().find(|line| line.contains("rror") && !line.starts_with("error when starting"));
    error.map_or(line.to_owned(), |error| format!("{line}: {error}"))
}

/// Why the configuration is broken, from the last lines of a Vite that goes on with its old one.
pub(super) fn config_detail<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let at = lines.iter().rposition(|line| line.contains("failed to load config"));
    at.map_or("Vite could not restart".into(), |at| with_error(lines[at], &lines[at + 1..]))
}

/// `Cannot find package 'x'`, or `Cannot find module 'x'` where x is a package and not a file.
fn missing_package(line: &str) -> bool {
    let module = line.split_once("Cannot find module '").map(|(_, rest)| rest);
    line.contains("Cannot find package '") || module.is_some_and(|name| !name.starts_with(['.', '/']))
}

/// What a line of a running Vite says of its configuration: broken (its old one goes on), or good again.
pub(super) fn config_news(line: &str) -> Option<bool> {
    if line.contains("[vite] server restart failed") {
        return Some(false);
    }
    line.contains("[vite] server restarted").then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(raw: i32, text: &str, oom: bool) -> Reason {
        diagnose(ExitStatus::from_raw(raw), text.lines(), oom).reason
    }

    #[test]
    fn each_end_has_its_reason() {
        let failed = 1 << 8;
        assert_eq!(reason(0, "done", false), Reason::Exited);
        assert_eq!(reason(failed, "boom", false), Reason::Crashed);
        assert_eq!(reason(9, "", false), Reason::Crashed, "a plain kill");
        assert_eq!(reason(9, "", true), Reason::OomKilled);
        assert_eq!(reason(137 << 8, "", true), Reason::OomKilled, "told by a shell in between");
        assert_eq!(reason(failed, "", true), Reason::Crashed, "something else was killed");
        assert_eq!(reason(failed, "Error: Port 3001 is already in use\n at x", false), Reason::PortInUse);
        assert_eq!(
            reason(failed, "Error: listen EADDRINUSE: address already in use :::3001", false),
            Reason::PortInUse
        );
        assert_eq!(reason(failed, "Error: Cannot find module 'express'", false), Reason::DependencyMissing);
        assert_eq!(reason(failed, "Error: Cannot find module '/app/x.js'", false), Reason::Crashed);
        let config =
            "failed to load config from /p/vite.config.js\nerror when starting dev server:\nError: Build failed";
        assert_eq!(reason(failed, config, false), Reason::ConfigError);
        let plugin =
            "failed to load config from /p/vite.config.js\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'x'";
        assert_eq!(reason(failed, plugin, false), Reason::DependencyMissing);
    }

    #[test]
    fn the_detail_is_the_line_that_tells() {
        let text = "starting\nTypeError: x is not a function\n    at main\nNode.js v20";
        let diagnosis = diagnose(ExitStatus::from_raw(1 << 8), text.lines(), false);
        assert_eq!(diagnosis.detail, "exit status: 1: TypeError: x is not a function");
    }
}
