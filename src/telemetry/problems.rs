//! Problems and verdicts as log lines and metrics.

use std::time::Duration;

use metrics::histogram;
use tracing::{debug, info, warn};

use super::status::count;
use super::text::millis;

/// The longest message in a line for people, in characters.
const MAX_LINE: usize = 200;

/// What a log line has of a problem.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of docs/protocol.md")]
pub struct ProblemLine<'a> {
    pub id: &'a str,
    pub kind: &'static str,
    pub message: &'a str,
    pub code: Option<&'static str>,
    pub file_path: Option<&'a str>,
    pub line: Option<u32>,
    pub column: Option<u32>,
    /// File, line and column in one word.
    pub place: Option<String>,
    pub page: Option<&'a str>,
    pub revision: u64,
}

impl ProblemLine<'_> {
    fn text(&self) -> String {
        let message: String = self.message.lines().next().unwrap_or_default().chars().take(MAX_LINE).collect();
        match &self.place {
            Some(place) => format!("{place}: {message}"),
            None => message,
        }
    }
}

/// What a log line has of a verdict.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of docs/protocol.md")]
pub struct VerdictLine {
    pub revision: u64,
    pub verdict: &'static str,
    pub seen: &'static str,
    pub settled: bool,
    /// How many problems are open.
    pub problems: usize,
    /// Since the first of its revisions was on disk.
    pub took: Duration,
}

/// Logs and counts a problem that opened.
pub fn opened(problem: &ProblemLine) {
    count("preview_agent_problems_opened_total", problem.kind);
    let ProblemLine { id, kind, code, file_path, line, column, page, revision, .. } = problem;
    warn!(
        event_type = "problem",
        id,
        kind,
        code,
        file_path,
        line,
        column,
        page,
        revision,
        error = problem.message,
        "{kind} problem: {}",
        problem.text()
    );
}

/// Logs a problem that ended.
pub fn resolved(problem: &ProblemLine) {
    let ProblemLine { id, kind, file_path, .. } = problem;
    info!(event_type = "problem_resolved", id, kind, file_path, "resolved: {}", problem.text());
}

/// Logs a verdict, and counts it where nothing more is awaited.
pub fn verdict(line: &VerdictLine) {
    let VerdictLine { revision, verdict, seen, settled, problems, took } = line;
    let duration_ms = millis(*took);
    if !settled {
        debug!(
            event_type = "verdict",
            revision, verdict, seen, settled, problems, duration_ms, "revision {revision} so far: {verdict}, {seen}"
        );
        return;
    }
    count("preview_agent_verdicts_total", verdict);
    count("preview_agent_verdicts_seen_total", seen);
    histogram!("preview_agent_verdict_seconds").record(*took);
    info!(
        event_type = "verdict",
        revision, verdict, seen, settled, problems, duration_ms, "revision {revision}: {verdict}, {seen}"
    );
}
