//! What a package manager printed before it failed: the class of the failure, and the line that says what is wrong.

use super::InstallFailure;

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) failure: InstallFailure,
    /// One line, without the manager's decoration.
    pub(super) reason: String,
}

use InstallFailure::{
    BadPackageJson, BuildsIgnored, EngineUnsupported, HostUnreachable, LockFile, PackageNotFound, ScriptFailed,
    ToolMissing, UnsupportedSpecifier, VersionConflict,
};

/// What the managers print for a class of failures. The first entry of which a line has a part decides.
const SIGNS: [(InstallFailure, &[&str]); 11] = [
    (BuildsIgnored, &["ERR_PNPM_IGNORED_BUILDS"]),
    (VersionConflict, &["code ERESOLVE", "ERR_PNPM_PEER_DEP_ISSUES"]),
    (
        LockFile,
        &[
            "code EUSAGE",
            "can only install packages when your package.json",
            "ERR_PNPM_OUTDATED_LOCKFILE",
            "ERR_PNPM_BROKEN_LOCKFILE",
            "ERR_PNPM_NO_LOCKFILE",
            "ERR_PNPM_LOCKFILE_",
            "ERR_PNPM_FROZEN_LOCKFILE",
            "lockfile needs to be updated",
            "in \"yarn.lock\"",
            "Merge conflict detected in yarn.lock",
            "YN0028",
            "YN0068",
            "lockfile is frozen",
            "parsing lockfile",
            "parse lockfile",
        ],
    ),
    (EngineUnsupported, &["code EBADENGINE", "ERR_PNPM_UNSUPPORTED_ENGINE", "is incompatible with this module"]),
    (BadPackageJson, &["code EJSONPARSE", "ERR_PNPM_JSON_PARSE", "code EINVALIDPACKAGENAME"]),
    (
        UnsupportedSpecifier,
        &[
            "code EUNSUPPORTEDPROTOCOL",
            "ERR_PNPM_SPEC_NOT_SUPPORTED",
            "that matches \"workspace:",
            "Workspace dependency \"",
        ],
    ),
    (
        PackageNotFound,
        &[
            "code E404",
            "code ETARGET",
            "code ENOVERSIONS",
            "ERR_PNPM_FETCH_404",
            "ERR_PNPM_NO_MATCHING_VERSION",
            "ERR_PNPM_PACKAGE_NOT_FOUND",
            "ERR_PNPM_WORKSPACE_PKG_NOT_FOUND",
            "Couldn't find package",
            "Couldn't find any versions",
            "YN0035",
            "YN0082",
            "(but package exists)",
            " - 404",
        ],
    ),
    (
        HostUnreachable,
        &[
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
            "ETIMEDOUT",
            "ECONNRESET",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ERR_SOCKET_TIMEOUT",
            "FailedToOpenSocket",
            "ConnectionRefused",
            "ConnectionClosed",
            "DNSResolveFailed",
            "error sending request",
        ],
    ),
    (PackageNotFound, &["failed to resolve"]),
    (ToolMissing, &["sh: 1: ", "command not found", "code 127", "exited with 127", "exit code 127", "Exit code: 127"]),
    (ScriptFailed, &["npm error command failed", "ELIFECYCLE", "error Command failed", " script from \"", "YN0009"]),
];

/// The parts of a line that say what is wrong, the better ones first.
fn telling(failure: InstallFailure) -> &'static [&'static str] {
    match failure {
        PackageNotFound => &[
            "No matching version",
            "could not be found",
            "is not in this registry",
            "is not in the npm registry",
            "Couldn't find",
            "No version matching",
            "No candidates found",
            "no package named",
            "Package not found",
            "Not Found",
            " 404",
        ],
        EngineUnsupported => &["Not compatible with", "is incompatible with this module", "Your Node version"],
        LockFile => &[
            "can only install",
            "not up to date",
            "is not compatible",
            "is broken",
            "is absent",
            "needs to be updated",
            "yarn.lock",
            "lockfile",
        ],
        ToolMissing => &[": not found", "command not found"],
        ScriptFailed => &["rror: ", "command sh", "Command failed", " script from "],
        BuildsIgnored => &["Ignored build scripts"],
        UnsupportedSpecifier => &["Unsupported URL Type", "Workspace dependency", "workspace:"],
        HostUnreachable => &["reason:", "getaddrinfo", "downloading tarball", "rror: ", "ENOTFOUND", "ECONNREFUSED"],
        _ => &["Refusing to run", "defines \"packageManager\"", "rror: ", "rror"],
    }
}

/// Lines that every failure has, or that say where and not what.
const EMPTY_TALK: [&str; 14] = [
    "code ",
    "errno ",
    "syscall ",
    "path ",
    "command failed",
    "A complete log",
    "A detailed log",
    "For a full report",
    "Visit https",
    "Failed with errors",
    "Completed in",
    "Fix the upstream",
    "help:",
    "Progress:",
];

/// Judges the last lines of a run that ended with `status`.
pub(super) fn report(lines: &[String], status: Option<i32>) -> Report {
    let plain: Vec<String> = lines.iter().map(|line| without_colours(line)).collect();
    let found =
        SIGNS.into_iter().find(|(_, signs)| plain.iter().any(|line| signs.iter().any(|sign| line.contains(sign))));
    let failure = match (found, status) {
        (Some((failure, _)), _) => failure,
        (None, Some(127)) => ToolMissing,
        (None, _) => InstallFailure::Failed,
    };
    let texts = joined(&plain);
    let reason = match failure {
        VersionConflict => peer_conflict(&texts),
        EngineUnsupported => engine(&texts),
        _ => None,
    };
    let reason = reason.or_else(|| told(failure, &texts)).unwrap_or_else(|| last_words(&texts));
    let reason = match plain.iter().find_map(|line| code(line)) {
        Some(code) => match reason.strip_prefix(code) {
            Some(rest) => format!("{code}: {}", rest.trim()),
            None if reason.contains(code) => reason,
            None => format!("{code}: {reason}"),
        },
        None => reason,
    };
    Report { failure, reason }
}

fn told(failure: InstallFailure, texts: &[String]) -> Option<String> {
    let has_meaning = |text: &&String| !text.is_empty() && !EMPTY_TALK.iter().any(|start| text.starts_with(start));
    telling(failure).iter().find_map(|part| texts.iter().filter(has_meaning).find(|text| text.contains(part)).cloned())
}

/// The last line that says anything.
fn last_words(texts: &[String]) -> String {
    let has_meaning = |text: &&String| !text.is_empty() && !EMPTY_TALK.iter().any(|start| text.starts_with(start));
    texts.iter().rfind(has_meaning).cloned().unwrap_or_else(|| "it printed nothing".to_owned())
}

/// The code that npm, pnpm or Yarn gives an error.
fn code(line: &str) -> Option<&str> {
    let is_part = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    if let Some(at) = line.find("ERR_PNPM_") {
        return line.get(at..).and_then(|rest| rest.split(|char| !is_part(char)).next());
    }
    let npm = line.strip_prefix("npm error code ").or_else(|| line.strip_prefix("npm ERR! code "));
    npm.map(str::trim).filter(|code| code.starts_with('E'))
}

/// Which package asks for which version of another one, and which version is there: npm's own words for `ERESOLVE`.
fn peer_conflict(texts: &[String]) -> Option<String> {
    let found = texts.iter().find_map(|text| text.strip_prefix("Found: "))?;
    let peer =
        texts.iter().find_map(|text| text.strip_prefix("peer ").or_else(|| text.strip_prefix("peerOptional ")))?;
    let (wanted, by) = peer.split_once(" from ")?;
    Some(format!("{by} needs {wanted}, and the project has {found}"))
}

/// npm's words for a version of Node that a package does not accept.
fn engine(texts: &[String]) -> Option<String> {
    let package = texts.iter().find_map(|text| text.split_once("version of node/npm: ")).map(|(_, package)| package)?;
    let part = |start: &str| texts.iter().find_map(|text| text.strip_prefix(start)).map(str::trim);
    Some(format!("{package} requires {}, and this is {}", part("Required:")?, part("Actual:")?))
}

/// The lines without the managers' decoration. Parts of a text that pnpm breaks into several lines are one again.
fn joined(plain: &[String]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for line in plain {
        let continues = ["  │   ", "      "].iter().find_map(|start| line.strip_prefix(start));
        match (continues.map(str::trim).filter(|rest| !rest.is_empty()), texts.last_mut()) {
            (Some(rest), Some(last)) if !last.is_empty() => {
                // A long name is broken after its hyphen.
                let gap = if last.ends_with('-') { "" } else { " " };
                last.push_str(gap);
                last.push_str(rest);
            }
            _ => texts.push(undecorated(line).to_owned()),
        }
    }
    texts
}

fn undecorated(line: &str) -> &str {
    const STARTS: [&str; 18] = [
        "npm error ",
        "npm error",
        "ERROR ",
        "network ",
        "npm ERR! ",
        "npm ERR!",
        "error: ",
        "Error: ",
        "error ",
        "notarget ",
        "notsup ",
        "engine ",
        "404 ",
        "├─▶ ",
        "╰─▶ ",
        "× ",
        "│ ",
        "· ",
    ];
    let mut text = line.trim();
    if let Some(rest) = text.strip_prefix("➤ YN") {
        text = rest.split_once(": ").map_or(rest, |(_, rest)| rest).trim();
    }
    while let Some(rest) = STARTS.iter().find_map(|start| text.strip_prefix(start)) {
        text = rest.trim();
    }
    text
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split('\x1b');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once(|char: char| char.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real output of the managers.
    const OUTPUTS: &str = include_str!("outputs.txt");

    #[test]
    fn failures_of_every_manager_are_recognized_with_the_line_that_says_it() {
        let mut seen = 0;
        let mut wrong = Vec::new();
        for case in OUTPUTS.split("\n== ").skip(1) {
            let (head, output) = case.split_once('\n').expect("a head and an output");
            let lines: Vec<String> = output.lines().map(str::to_owned).collect();
            let report = report(&lines, Some(1));
            let found = format!("{} {}", report.failure.as_str(), report.reason);
            if found != head {
                wrong.push(format!("found    {found}\nexpected {head}"));
            }
            seen += 1;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        assert!(seen > 15, "{seen} outputs");
    }

    #[test]
    fn colours_are_removed_and_an_unknown_failure_has_its_last_words() {
        let lines = ["starting".to_owned(), "\x1b[31mit broke\x1b[0m".to_owned()];
        assert_eq!(report(&lines, Some(1)), Report { failure: InstallFailure::Failed, reason: "it broke".into() });
        let lines = ["sh: 1: husky: not found".to_owned()];
        let report = report(&lines, Some(127));
        assert_eq!((report.failure, &*report.reason), (ToolMissing, "sh: 1: husky: not found"));
    }
}
