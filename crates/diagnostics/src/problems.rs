//! The open problems, and which source has reported each.

use std::collections::BTreeMap;
use std::time::Duration;

use sync_core::{Revision, Time};

use crate::problem::{Moment, Problem, ProblemId};
use crate::{Finding, Kind, PageId};

/// The most problems that are open at a time: enough for a person, and for a report of 800 KiB at most.
pub const MAX_PROBLEMS: usize = 100;
/// The shortest time between two reports of one problem whose count has changed.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Where a finding comes from, and so what can end it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A module or a document of the dev server, by its path there.
    Module(String),
    /// One load of one document.
    Page(PageId),
    /// The package manager.
    Install,
    /// The dev server as a process.
    Server,
    /// `tsc`.
    Types,
}

/// What became of a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Opened(Problem),
    /// Its count has changed.
    Counted(Problem),
    /// It has ended.
    Resolved(Problem),
}

#[derive(Debug)]
struct Open {
    problem: Problem,
    sources: BTreeMap<Source, Report>,
    /// When it was last reported.
    confirmed: Time,
    /// When its count was last shown, and the count.
    shown: (Time, u64),
}

/// The last report of a problem by one source.
#[derive(Debug)]
struct Report {
    at: Time,
    /// The path of the page, where the source is one.
    page: Option<String>,
    /// The problem is resolved for this source unless it is reported again until then.
    doubted_until: Option<Time>,
}

/// The open problems, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    open: Vec<Open>,
    omitted: u64,
    changes: Vec<Change>,
}

impl Problems {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.open.iter().map(|open| &open.problem)
    }

    /// What was reported beyond the bounds.
    pub(crate) fn omitted(&self) -> u64 {
        self.omitted
    }

    pub(crate) fn omit(&mut self, count: u64) {
        self.omitted = self.omitted.saturating_add(count);
    }

    /// The changes since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn has(&self, fits: impl Fn(&Problem) -> bool) -> bool {
        self.iter().any(fits)
    }

    /// Whether a blocking problem was reported at `since` or later.
    pub(crate) fn blocking_since(&self, since: Time) -> bool {
        self.open.iter().any(|open| open.problem.is_blocking() && open.confirmed >= since)
    }

    pub(crate) fn report(&mut self, now: Moment, revision: Revision, source: Source, finding: Finding, count: u64) {
        let new = Problem { count, ..Problem::new(finding, revision, now.unix_ms) };
        let report = Report { at: now.time, page: new.finding.page.clone(), doubted_until: None };
        if let Some(open) = self.open.iter_mut().find(|open| open.problem.id == new.id) {
            open.problem.count = open.problem.count.saturating_add(count);
            open.problem.last_at = now.unix_ms;
            open.confirmed = now.time;
            open.sources.insert(source, report);
            return;
        }
        if self.open.len() >= MAX_PROBLEMS && !self.displace(new.finding.kind) {
            return self.omit(count);
        }
        self.changes.push(Change::Opened(new.clone()));
        let sources = BTreeMap::from([(source, report)]);
        self.open.push(Open { problem: new, sources, confirmed: now.time, shown: (now.time, count) });
    }

    /// Makes room for a problem that matters more than what pages report; false where there is none to displace.
    fn displace(&mut self, kind: Kind) -> bool {
        let matters = |kind| matches!(kind, Kind::Build | Kind::Install | Kind::Server);
        let Some(at) = self.open.iter().rposition(|open| !matters(open.problem.finding.kind)).filter(|_| matters(kind))
        else {
            return false;
        };
        self.omit(1);
        self.changes.push(Change::Resolved(self.open.remove(at).problem));
        true
    }

    /// Replaces everything that `source` has reported.
    pub(crate) fn replace(&mut self, now: Moment, revision: Revision, source: &Source, findings: Vec<Finding>) {
        let ids: Vec<ProblemId> =
            findings.iter().map(|finding| Problem::new(finding.clone(), revision, 0).id).collect();
        for finding in findings {
            self.report(now, revision, source.clone(), finding, 1);
        }
        self.withdraw(|holder, id| holder == source && !ids.contains(id));
    }

    /// Ends what the sources that fit have reported.
    pub(crate) fn withdraw(&mut self, fits: impl Fn(&Source, &ProblemId) -> bool) {
        for open in &mut self.open {
            open.sources.retain(|source, _| !fits(source, &open.problem.id));
        }
        self.remove_without_source();
    }

    /// What the page `id` has reported is resolved at `until` unless it is reported again.
    pub(crate) fn doubt_page(&mut self, id: &PageId, until: Time) {
        let source = Source::Page(id.clone());
        let reports = self.open.iter_mut().filter_map(|open| open.sources.get_mut(&source));
        reports.for_each(|report| report.doubted_until = Some(until));
    }

    /// The same for every load of the document at `path` but the load `id`.
    pub(crate) fn doubt_other_loads(&mut self, path: &str, id: &PageId, until: Time) {
        let source = Source::Page(id.clone());
        let reports = self.open.iter_mut().flat_map(|open| &mut open.sources);
        let others = reports.filter(|(holder, report)| **holder != source && report.page.as_deref() == Some(path));
        others.for_each(|(_, report)| report.doubted_until = Some(until));
    }

    /// Ends what pages reported before `since` that are not open any more: it cannot be seen again there.
    pub(crate) fn withdraw_closed_pages(&mut self, since: Time, is_open: impl Fn(&str) -> bool) {
        for open in &mut self.open {
            open.sources.retain(|source, report| {
                let closed = || report.page.as_deref().is_none_or(|page| !is_open(page));
                !(matches!(source, Source::Page(_)) && report.at < since && closed())
            });
        }
        self.remove_without_source();
    }

    /// Resolves what was not reported again in time, and shows new counts.
    pub(crate) fn tick(&mut self, now: Time) {
        for open in &mut self.open {
            open.sources.retain(|_, report| report.doubted_until.is_none_or(|until| until > now));
        }
        self.remove_without_source();
        for open in &mut self.open {
            let (at, count) = open.shown;
            if open.problem.count != count && now.since(at) >= COUNT_EVERY {
                open.shown = (now, open.problem.count);
                self.changes.push(Change::Counted(open.problem.clone()));
            }
        }
    }

    /// The next time at which doubted problems are resolved, and the next at which a count is shown.
    pub(crate) fn deadlines(&self) -> (Option<Time>, Option<Time>) {
        let reports = self.open.iter().flat_map(|open| open.sources.values());
        let doubts = reports.filter_map(|report| report.doubted_until).min();
        let counted = self.open.iter().filter(|open| open.problem.count != open.shown.1);
        (doubts, counted.map(|open| open.shown.0.after(COUNT_EVERY)).min())
    }

    fn remove_without_source(&mut self) {
        let ended = self.open.extract_if(.., |open| open.sources.is_empty());
        self.changes.extend(ended.map(|open| Change::Resolved(open.problem)));
    }
}
