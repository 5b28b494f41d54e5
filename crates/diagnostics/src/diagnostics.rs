//! The state machine: what was observed becomes problems and verdicts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sync_core::{Revision, Time};

use crate::pages::{Freshness, MAX_PAGES, Pages};
use crate::problem::{Moment, Problem};
use crate::problems::{Change, Problems, Source};
use crate::verdict::{CHECK_PATIENCE, Group, Outcome, RENDERED_AFTER, Seen, Verdict};
use crate::{Finding, Kind, PageId};

/// Something that was observed.
#[derive(Debug, Clone)]
pub enum Input {
    /// Everything up to this revision is on disk.
    Applied(Revision),
    /// Each module that was changed up to this revision was asked, and the answers were reported.
    Checked(Revision),
    /// The dev server sent an update or a reload to the open pages.
    UpdateSent,
    /// All that this source finds wrong now; it replaces what the source reported before.
    Found(Source, Vec<Finding>),
    /// This module is no longer part of the preview.
    ModuleGone(String),
    /// Something happened in a page.
    Page(PageId, String, PageChange),
    /// This many observations were not looked at, because there were too many.
    Omitted(u64),
}

/// Something that happened in a page.
#[derive(Debug, Clone)]
pub enum PageChange {
    /// The document was loaded.
    Loaded,
    /// It took an update without a load.
    Updated,
    /// It could not take an update; with what it reports about it.
    UpdateFailed(Finding),
    /// It was closed.
    Left,
    /// Something is wrong in it, seen so many times.
    Error(Finding, u64),
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A problem opened, was counted again, or ended.
    Problem(Change),
    /// The verdict of the newest revision changed.
    Verdict(Verdict),
}

sync_core::code_enum! {
    /// What the next timer is for.
    pub enum TimerReason {
        /// No further revision joins the verdict.
        Gathered = "gathered",
        /// A problem did not come back.
        NotSeenAgain = "not_seen_again",
        /// A new count is to be shown.
        Count = "count",
        /// The open pages stayed without a new problem.
        Rendered = "rendered",
        /// A page did not take an update in time.
        PagePatience = "page_patience",
        /// No problem of the build explains why a page could not take an update.
        UpdateFailed = "update_failed",
        /// Nothing checked the revision in time.
        CheckPatience = "check_patience",
    }
}

#[derive(Debug)]
struct FailedUpdate {
    path: String,
    finding: Finding,
    at: Time,
}

/// Vite's client reports the end of an update also after it has failed; both come within this time.
const SAME_UPDATE: Duration = Duration::from_millis(200);

/// The problems and verdicts of one preview. After each call, take outputs with [`Diagnostics::poll`] until there are none,
/// then wait for the next observation or until [`Diagnostics::deadline`].
#[derive(Debug, Default)]
pub struct Diagnostics {
    problems: Problems,
    pages: Pages,
    /// Updates that failed in a page. Each is reported at its time unless a problem of the build explains it.
    failed_updates: BTreeMap<PageId, FailedUpdate>,
    revision: Revision,
    group: Option<Group>,
    verdict: Option<Verdict>,
    outputs: VecDeque<Output>,
    /// Everything that was due by then is done.
    ticked: Time,
}

impl Diagnostics {
    /// Takes an observation.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Applied(revision) => self.applied(now.time, revision),
            Input::Checked(revision) => self.checked(now.time, revision),
            Input::UpdateSent => {
                if let Some(group) = &mut self.group {
                    group.update_sent = true;
                }
            }
            Input::Found(source, findings) => self.problems.replace(now, self.revision, &source, findings),
            Input::ModuleGone(module) => {
                let source = Source::Module(module);
                self.problems.withdraw(|holder, _| *holder == source);
            }
            Input::Page(id, path, change) => self.page(now, id, path, change),
            Input::Omitted(count) => self.problems.omit(count),
        }
        self.tick(now);
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Moment) {
        self.ticked = now.time;
        self.report_failed_updates(now);
        self.problems.tick(now.time);
        if let Some(group) = self.group.as_ref().filter(|group| group.update_sent) {
            self.pages.tick(now.time, group.last);
        }
        self.outputs.extend(self.problems.take_changes().into_iter().map(Output::Problem));
        if let Some(new) = self.judge(now)
            && !self.verdict.as_ref().is_some_and(|verdict| verdict.is_same(&new))
        {
            self.verdict = Some(new.clone());
            self.outputs.push_back(Output::Verdict(new));
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Diagnostics::tick`] is to be called, and what for.
    pub fn deadline(&self) -> Option<(Time, TimerReason)> {
        let (doubt, count) = self.problems.deadlines();
        let own = [(doubt, TimerReason::NotSeenAgain), (count, TimerReason::Count)];
        let own = own.into_iter().filter_map(|(at, reason)| Some((at?, reason)));
        let failed = self.failed_updates.values().map(|failed| failed.at.after(RENDERED_AFTER)).min();
        let own = own.chain(failed.map(|at| (at, TimerReason::UpdateFailed)));
        // What was due by then is done, whether or not it changed anything.
        own.chain(self.group_deadlines()).filter(|(at, _)| *at > self.ticked).min()
    }

    /// The open problems, the oldest first.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How much was reported beyond the bounds.
    pub fn omitted(&self) -> u64 {
        self.problems.omitted()
    }

    /// The newest verdict.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Everything up to this revision is on disk.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The paths of the pages that are open.
    pub fn open_pages(&self) -> Vec<String> {
        self.pages.paths()
    }

    /// The ids of the open problems, the oldest first.
    pub fn ids(&self) -> Vec<String> {
        self.problems.iter().map(|problem| problem.id.as_str().to_owned()).collect()
    }

    fn applied(&mut self, now: Time, revision: Revision) {
        // A reset of the database goes back; the verdicts do not.
        if revision < self.revision || (self.group.is_some() && revision == self.revision) {
            return;
        }
        self.revision = revision;
        match &mut self.group {
            Some(group) if now < group.closes() => group.extend(revision, now),
            group => *group = Some(Group::new(revision, now)),
        }
    }

    fn checked(&mut self, now: Time, revision: Revision) {
        let Some(group) = self.group.as_mut().filter(|group| group.revision <= revision) else { return };
        group.checked.get_or_insert(now);
        let pages = &self.pages;
        self.problems.withdraw_closed_pages(group.since, |path| pages.is_open_at(path));
    }

    fn page(&mut self, now: Moment, id: PageId, path: String, change: PageChange) {
        if let PageChange::Left = change {
            self.failed_updates.remove(&id);
            return self.pages.left(&id);
        }
        let is_new = self.pages.heard(now.time, &id, &path);
        let until = now.time.after(RENDERED_AFTER);
        if is_new || matches!(change, PageChange::Loaded) {
            // Errors of the same load come before its end.
            self.problems.doubt_other_loads(&path, &id, until);
        }
        match change {
            PageChange::Loaded => self.pages.fresh(now.time, &id),
            PageChange::Updated => {
                let failed = self.failed_updates.get(&id);
                if failed.is_some_and(|failed| now.time.since(failed.at) < SAME_UPDATE) {
                    return;
                }
                self.failed_updates.remove(&id);
                self.pages.fresh(now.time, &id);
                self.problems.doubt_page(&id, until);
            }
            PageChange::UpdateFailed(finding) => {
                self.failed_updates.insert(id, FailedUpdate { path, finding, at: now.time });
                if self.failed_updates.len() > MAX_PAGES {
                    self.failed_updates.pop_first();
                }
            }
            PageChange::Error(finding, count) => {
                self.problems.report(now, self.revision, Source::Page(id), finding, count);
            }
            PageChange::Left => {}
        }
    }

    /// A module that failed while it was run, and was transformed well.
    fn report_failed_updates(&mut self, now: Moment) {
        let is_due = |_: &PageId, failed: &mut FailedUpdate| failed.at.after(RENDERED_AFTER) <= now.time;
        let due: Vec<_> = self.failed_updates.extract_if(.., is_due).collect();
        if self.problems.has(|problem| problem.finding.kind == Kind::Build) {
            return;
        }
        for (id, FailedUpdate { path, finding, .. }) in due {
            let finding = Finding { page: Some(path), ..finding };
            self.problems.report(now, self.revision, Source::Page(id), finding, 1);
        }
    }

    /// The verdict now; none while further revisions may join it.
    fn judge(&self, now: Moment) -> Option<Verdict> {
        let group = self.group.as_ref().filter(|group| group.closes() <= now.time)?;
        let has = |fits: fn(&Problem) -> bool| self.problems.has(fits);
        let outcome = if has(Problem::is_blocking) { Outcome::Broken } else { Outcome::Ok };
        let transforms = !has(|problem| matches!(problem.finding.kind, Kind::Build | Kind::Server));
        let pages = self.pages.freshness(group.update_sent.then_some(group.last));
        let rendered = self.rendered_at(group, pages).is_some_and(|at| at <= now.time);
        let seen = match group.checked {
            Some(_) if transforms && rendered => Seen::Rendered,
            Some(_) if transforms => Seen::Built,
            _ => Seen::Applied,
        };
        let all_seen = group.checked.is_some() && (rendered || pages == Freshness::NoPage);
        let settled = match outcome {
            Outcome::Ok => all_seen,
            Outcome::Broken => {
                let waited = now.time.since(group.last) >= CHECK_PATIENCE;
                all_seen || waited || self.problems.blocking_since(group.since)
            }
        };
        let took = now.time.since(group.since);
        Some(Verdict { revision: group.revision, outcome, seen, settled, at: now.unix_ms, took })
    }

    /// When the open pages count as rendered, where all took the update.
    fn rendered_at(&self, group: &Group, pages: Freshness) -> Option<Time> {
        let Freshness::Since(fresh) = pages else { return None };
        Some(fresh.max(group.checked?).after(RENDERED_AFTER))
    }

    fn group_deadlines(&self) -> impl Iterator<Item = (Time, TimerReason)> + use<> {
        let deadlines = self.group.as_ref().map(|group| {
            let pages = self.pages.freshness(group.update_sent.then_some(group.last));
            let waiting = match pages {
                Freshness::Waiting(until) => Some((until, TimerReason::PagePatience)),
                pages => self.rendered_at(group, pages).map(|at| (at, TimerReason::Rendered)),
            };
            let gathered = (group.closes(), TimerReason::Gathered);
            let check = (group.last.after(CHECK_PATIENCE), TimerReason::CheckPatience);
            [Some(gathered), waiting, Some(check)]
        });
        deadlines.into_iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests;
