//! Where problems and verdicts are shown: the log, `/problems`, the metrics, the status topic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diagnostics::{Change, Diagnostics, Kind, Output, Problem, Verdict};
use serde_json::{Value, json};
use sync_core::Revision;
use sync_core::wire::StatusEvent;
use tokio::sync::{broadcast, mpsc};

use super::Publication;
use crate::telemetry::problems::{self, ProblemLine, VerdictLine};
use crate::telemetry::status::{ProblemsView, SharedStatus};

/// A final verdict is sent again after these times, with the open problems, because an event may be lost, and an editor may
/// have joined the topic just after it.
const REPEAT_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// Problems that are sent again with a verdict.
const REPEATED_PROBLEMS: usize = 20;

/// Shows what the state machine puts out.
#[derive(Debug)]
pub(super) struct Outlet {
    status: SharedStatus,
    publications: mpsc::Sender<Publication>,
    /// For pages in a frame.
    notices: Option<broadcast::Sender<Arc<str>>>,
    /// The revision that was last shown.
    revision: Option<Revision>,
    /// When the newest verdict is sent again.
    repeats: VecDeque<Instant>,
}

impl Outlet {
    pub(super) fn new(
        status: SharedStatus,
        publications: mpsc::Sender<Publication>,
        notices: Option<broadcast::Sender<Arc<str>>>,
    ) -> Outlet {
        Outlet { status, publications, notices, revision: None, repeats: VecDeque::new() }
    }

    /// Shows everything that is new.
    pub(super) fn show(&mut self, core: &mut Diagnostics) {
        let mut outputs = Vec::new();
        while let Some(output) = core.poll() {
            outputs.push(output);
        }
        // Counts and times change without an output.
        let is_same = outputs.is_empty() && core.problems().next().is_none() && self.revision == Some(core.revision());
        if is_same {
            return;
        }
        self.revision = Some(core.revision());
        self.status.set_problems(view(core));
        for output in outputs {
            match output {
                Output::Problem(Change::Opened(problem)) => {
                    problems::opened(&line(&problem));
                    self.publish(StatusEvent::Problem, Value::Object(problem.to_json()));
                }
                Output::Problem(Change::Counted(problem)) => {
                    self.publish(StatusEvent::Problem, Value::Object(problem.to_json()));
                }
                Output::Problem(Change::Resolved(problem)) => {
                    problems::resolved(&line(&problem));
                    let payload = json!({"id": problem.id.as_str(), "revision": core.revision()});
                    self.publish(StatusEvent::Resolved, payload);
                }
                Output::Verdict(verdict) => {
                    let ids = core.ids();
                    problems::verdict(&verdict_line(&verdict, ids.len()));
                    self.publish(StatusEvent::Verdict, verdict.to_json(&ids));
                    let now = Instant::now();
                    self.repeats.clear();
                    if verdict.settled {
                        self.repeats.extend(REPEAT_AFTER.map(|after| now + after));
                    }
                }
            }
        }
    }

    /// When [`Outlet::repeat`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.repeats.front().copied()
    }

    /// Sends the newest verdict again on the status topic, after the open problems.
    pub(super) fn repeat(&mut self, core: &Diagnostics) {
        self.repeats.pop_front();
        let Some(verdict) = core.verdict() else { return };
        for problem in core.problems().take(REPEATED_PROBLEMS) {
            self.send(StatusEvent::Problem, Value::Object(problem.to_json()));
        }
        self.send(StatusEvent::Verdict, verdict.to_json(&core.ids()));
    }

    fn publish(&self, event: StatusEvent, payload: Value) {
        if let Some(notices) = &self.notices {
            // An error means that no page in a frame is open.
            let _ = notices.send(notice(event, &payload).to_string().into());
        }
        self.send(event, payload);
    }

    /// On the status topic. Never waits: what finds no room is lost, and `/problems` still has it.
    fn send(&self, event: StatusEvent, payload: Value) {
        let _ = self.publications.try_send(Publication { event, payload });
    }
}

/// The message to the parent of a page in a frame; the page adds its `source`.
fn notice(event: StatusEvent, payload: &Value) -> Value {
    let kind = event.as_str().trim_start_matches("preview:");
    match (event, payload) {
        (StatusEvent::Problem, problem) => json!({"type": kind, "problem": problem}),
        (_, Value::Object(fields)) => {
            let mut fields = fields.clone();
            fields.insert("type".to_owned(), kind.into());
            Value::Object(fields)
        }
        (_, other) => other.clone(),
    }
}

fn view(core: &Diagnostics) -> ProblemsView {
    let problems: Vec<_> = core.problems().map(|problem| Value::Object(problem.to_json())).collect();
    let count = |kind: Kind| core.problems().filter(|problem| problem.finding.kind == kind).count();
    ProblemsView {
        revision: core.revision(),
        verdict: core.verdict().map(|verdict| verdict.to_json(&core.ids())),
        problems,
        omitted: core.omitted(),
        by_kind: Kind::ALL.map(|kind| (kind.as_str(), count(kind))).into(),
    }
}

fn line(problem: &Problem) -> ProblemLine<'_> {
    let finding = &problem.finding;
    ProblemLine {
        id: problem.id.as_str(),
        kind: finding.kind.as_str(),
        message: &finding.message,
        code: finding.code,
        file_path: finding.place.as_ref().map(|place| place.file_path.as_str()),
        line: finding.place.as_ref().and_then(|place| place.line),
        column: finding.place.as_ref().and_then(|place| place.column),
        place: problem.place_text(),
        page: finding.page.as_deref(),
        revision: problem.revision,
    }
}

fn verdict_line(verdict: &Verdict, problems: usize) -> VerdictLine {
    VerdictLine {
        revision: verdict.revision,
        verdict: verdict.outcome.as_str(),
        seen: verdict.seen.as_str(),
        settled: verdict.settled,
        problems,
        took: verdict.took,
    }
}
