use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::FaultReason;

/// SIGKILL, as a shell reports it.
const KILLED: i32 = 137;

/// What is wrong with the dev server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) reason: FaultReason,
    pub(super) detail: String,
}

/// Whether the kernel has killed a process of our control group since the dev server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OomKill {
    Seen,
    NotSeen,
}

/// Says why a dev server ended by itself, from its status and its last lines (oldest first).
pub(super) fn diagnose<'a>(status: ExitStatus, lines: impl Iterator<Item = &'a str>, oom: OomKill) -> Diagnosis {
    let killed = status.signal() == Some(9) || status.code() == Some(KILLED);
    if killed && oom == OomKill::Seen {
        let detail = "the kernel killed it because memory ran out".into();
        return Diagnosis { reason: FaultReason::OomKilled, detail };
    }
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    if !status.success()
        && let Some(found) = tails(&lines).find_map(|(line, after)| known_failure(line, after))
    {
        return found;
    }
    match status.code() {
        Some(0) => Diagnosis { reason: FaultReason::Exited, detail: "it exited with status 0".into() },
        _ => {
            let last = lines.iter().rev().find(|line| line.contains("Error")).or(lines.last());
            let detail = last.map_or(status.to_string(), |last| format!("{status}: {last}"));
            Diagnosis { reason: FaultReason::Crashed, detail }
        }
    }
}

/// Each line together with the lines after it.
fn tails<'a, 'b>(lines: &'b [&'a str]) -> impl DoubleEndedIterator<Item = (&'a str, &'b [&'a str])> {
    (0..lines.len()).filter_map(|at| lines.get(at..)?.split_first()).map(|(line, after)| (*line, after))
}

/// A failure that Node or Vite names in `line`. `after` is what follows the line.
fn known_failure(line: &str, after: &[&str]) -> Option<Diagnosis> {
    let found = |reason, detail: &str| Some(Diagnosis { reason, detail: detail.to_owned() });
    if line.contains("EADDRINUSE") || (line.contains("Port ") && line.contains(" is already in use")) {
        return found(FaultReason::PortInUse, line);
    }
    if names_missing_package(line) {
        return found(FaultReason::DependencyMissing, line);
    }
    if line.contains("failed to load config") {
        // Where the configuration needs a package that is missing, an install helps and an edit does not.
        if let Some(missing) = after.iter().find(|line| names_missing_package(line)) {
            return found(FaultReason::DependencyMissing, missing);
        }
        return found(FaultReason::ConfigError, &with_error(line, after));
    }
    None
}

/// The line that says that a configuration cannot be loaded, and the error after it.
fn with_error(line: &str, after: &[&str]) -> String {
    let error = after.iter().find(|line| line.contains("rror") && !line.starts_with("error when starting"));
    error.map_or(line.to_owned(), |error| format!("{line}: {error}"))
}

/// Why the configuration is broken, from the last lines of a Vite that still uses the one before.
pub(super) fn config_detail<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let last = tails(&lines).rfind(|(line, _)| line.contains("failed to load config"));
    last.map_or("Vite could not restart".into(), |(line, after)| with_error(line, after))
}

/// `Cannot find package 'x'`, or `Cannot find module 'x'` where x is a package and not a file.
fn names_missing_package(line: &str) -> bool {
    let module = line.split_once("Cannot find module '").map(|(_, rest)| rest);
    line.contains("Cannot find package '") || module.is_some_and(|name| !name.starts_with(['.', '/']))
}

/// What a running Vite reports about its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfigReport {
    /// It is broken; Vite still uses the one before.
    Broken,
    /// It was read, and Vite uses it.
    Loaded,
}

/// The report that a line of a running Vite holds.
pub(super) fn config_report(line: &str) -> Option<ConfigReport> {
    if line.contains("[vite] server restart failed") {
        return Some(ConfigReport::Broken);
    }
    line.contains("[vite] server restarted").then_some(ConfigReport::Loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultReason::{ConfigError, Crashed, DependencyMissing, Exited, OomKilled, PortInUse};
    use OomKill::{NotSeen, Seen};

    fn reason(raw: i32, text: &str, oom: OomKill) -> FaultReason {
        diagnose(ExitStatus::from_raw(raw), text.lines(), oom).reason
    }

    #[test]
    fn each_end_has_its_reason() {
        let failed = 1 << 8;
        assert_eq!(reason(0, "done", NotSeen), Exited);
        assert_eq!(reason(failed, "boom", NotSeen), Crashed);
        assert_eq!(reason(9, "", NotSeen), Crashed, "an ordinary kill");
        assert_eq!(reason(9, "", Seen), OomKilled);
        assert_eq!(reason(137 << 8, "", Seen), OomKilled, "reported by a shell");
        assert_eq!(reason(failed, "", Seen), Crashed, "another process was killed");
        assert_eq!(reason(failed, "Error: Port 3001 is already in use\n at x", NotSeen), PortInUse);
        let listen = "Error: listen EADDRINUSE: address already in use :::3001";
        assert_eq!(reason(failed, listen, NotSeen), PortInUse);
        assert_eq!(reason(failed, "Error: Cannot find module 'express'", NotSeen), DependencyMissing);
        assert_eq!(reason(failed, "Error: Cannot find module '/app/x.js'", NotSeen), Crashed);
        let config =
            "failed to load config from /p/vite.config.js\nerror when starting dev server:\nError: Build failed";
        assert_eq!(reason(failed, config, NotSeen), ConfigError);
        let plugin =
            "failed to load config from /p/vite.config.js\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'x'";
        assert_eq!(reason(failed, plugin, NotSeen), DependencyMissing);
    }

    #[test]
    fn detail_is_the_line_with_the_error() {
        let text = "starting\nTypeError: x is not a function\n    at main\nNode.js v20";
        let diagnosis = diagnose(ExitStatus::from_raw(1 << 8), text.lines(), NotSeen);
        assert_eq!(diagnosis.detail, "exit status: 1: TypeError: x is not a function");
    }

    #[test]
    fn config_detail_is_the_last_error() {
        let lines = ["failed to load config from a", "Error: old", "failed to load config from a", "Error: new"];
        assert_eq!(config_detail(lines.into_iter()), "failed to load config from a: Error: new");
        assert_eq!(config_detail(std::iter::empty()), "Vite could not restart");
    }
}
