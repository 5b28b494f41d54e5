//! Which changes the dev server has not seen yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sync_core::rules::FileRole;
use tokio::time::Instant;

/// Vite reports a change within about 30 ms, a removed file within 120 ms. Where it reports none, modules are asked anyway.
const NOTICE_TIME: Duration = Duration::from_secs(1);
/// A file that is no known module may be part of one (an imported style sheet, a template's content): the report comes within
/// this time.
const UNKNOWN_TIME: Duration = Duration::from_millis(150);
/// A dev server that restarts for a file (its configuration, packages) begins within this time.
const RESTART_TIME: Duration = Duration::from_millis(1_500);
/// After this time a changed file is not asked for again.
const RECENT: Duration = Duration::from_secs(2);

/// The changes that the dev server was not seen to take yet.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Changed files of known modules.
    paths: BTreeSet<String>,
    /// Reports of the dev server since the first of them.
    reports: usize,
    /// When they are taken as seen.
    until: Instant,
    /// Nothing is taken as checked before.
    quiet_until: Instant,
    recent: BTreeMap<String, Instant>,
}

impl Awaited {
    pub(super) fn new() -> Awaited {
        let now = Instant::now();
        Awaited { paths: BTreeSet::new(), reports: 0, until: now, quiet_until: now, recent: BTreeMap::new() }
    }

    /// A file was changed that a known module is made of: a report of the dev server follows.
    pub(super) fn module_changed(&mut self, path: &str) {
        let now = Instant::now();
        if self.paths.is_empty() {
            self.reports = 0;
        }
        self.paths.insert(path.to_owned());
        self.until = now + NOTICE_TIME;
        self.recent.insert(path.to_owned(), now);
    }

    /// Another file was changed.
    pub(super) fn other_changed(&mut self, path: &str) {
        let wait = match FileRole::of_name(path.rsplit('/').next().unwrap_or(path)) {
            FileRole::Ordinary | FileRole::IndexHtml => UNKNOWN_TIME,
            _ => RESTART_TIME,
        };
        self.wait(wait);
        self.recent.insert(path.to_owned(), Instant::now());
    }

    /// This dev server reports nothing.
    pub(super) fn forget_modules(&mut self) {
        self.paths.clear();
    }

    /// Nothing is taken as checked before this time has passed.
    pub(super) fn wait(&mut self, time: Duration) {
        self.quiet_until = self.quiet_until.max(Instant::now() + time);
    }

    /// The dev server reported a change. Returns the changed files whose modules are to be asked now.
    pub(super) fn reported(&mut self) -> BTreeSet<String> {
        self.recent.retain(|_, at| at.elapsed() < RECENT);
        self.reports = self.reports.saturating_add(1);
        let mut asked = self.paths.clone();
        asked.extend(self.recent.keys().cloned());
        if self.reports >= self.paths.len() {
            self.paths.clear();
        }
        asked
    }

    /// The files whose report did not come in time; they are not waited for any more.
    pub(super) fn take_late(&mut self) -> BTreeSet<String> {
        if self.until > Instant::now() { BTreeSet::new() } else { std::mem::take(&mut self.paths) }
    }

    /// Whether every change was seen.
    pub(super) fn is_over(&self) -> bool {
        self.paths.is_empty() && self.quiet_until <= Instant::now()
    }

    /// When [`Awaited::take_late`] or [`Awaited::is_over`] is to be asked again.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = Some(self.quiet_until).filter(|at| *at > Instant::now());
        let late = (!self.paths.is_empty()).then_some(self.until);
        [quiet, late].into_iter().flatten().min()
    }
}
