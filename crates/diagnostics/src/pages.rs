//! The pages that are open in browsers, as far as they report.

use std::collections::BTreeMap;

use sync_core::Time;

use crate::PageId;
use crate::verdict::PAGE_PATIENCE;

/// The most pages that are followed; the one that was silent for longest makes room.
pub(crate) const MAX_PAGES: usize = 50;

#[derive(Debug)]
struct Page {
    path: String,
    /// When it was loaded, or took an update.
    fresh: Time,
    /// When it last reported anything.
    heard: Time,
    /// It did not take an update in time: a tab that sleeps, or one that was closed without a word.
    lost: bool,
}

/// What pages are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// No page is open.
    NoPage,
    /// All took it, the last one at this time.
    Since(Time),
    /// One has not taken it; it is waited for until this time.
    Waiting(Time),
}

#[derive(Debug, Default)]
pub(crate) struct Pages(BTreeMap<PageId, Page>);

impl Pages {
    /// A page reports. True where it was not known: it is a new load.
    pub(crate) fn heard(&mut self, now: Time, id: &PageId, path: &str) -> bool {
        if let Some(page) = self.0.get_mut(id) {
            (page.heard, page.lost) = (now, false);
            path.clone_into(&mut page.path);
            return false;
        }
        if self.0.len() >= MAX_PAGES {
            let oldest = self.0.iter().min_by_key(|(_, page)| page.heard).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
        self.0.insert(id.clone(), Page { path: path.to_owned(), fresh: now, heard: now, lost: false });
        true
    }

    pub(crate) fn fresh(&mut self, now: Time, id: &PageId) {
        self.0.entry(id.clone()).and_modify(|page| page.fresh = now);
    }

    pub(crate) fn left(&mut self, id: &PageId) {
        self.0.remove(id);
    }

    /// Whether a page that reports is open at this path.
    pub(crate) fn is_open_at(&self, path: &str) -> bool {
        self.0.values().any(|page| page.path == path && !page.lost)
    }

    /// The paths of the open pages.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.0.values().filter(|page| !page.lost).map(|page| page.path.clone()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// How far an update is that was sent at `since` or later; `None` where none was sent.
    pub(crate) fn freshness(&self, since: Option<Time>) -> Freshness {
        let open = || self.0.values().filter(|page| !page.lost);
        match since {
            _ if open().next().is_none() => Freshness::NoPage,
            Some(since) if open().any(|page| page.fresh < since) => Freshness::Waiting(since.after(PAGE_PATIENCE)),
            _ => Freshness::Since(open().map(|page| page.fresh).max().unwrap_or_default()),
        }
    }

    /// Pages that did not take the update of `since` in time are not waited for any more.
    pub(crate) fn tick(&mut self, now: Time, since: Time) {
        if now.since(since) >= PAGE_PATIENCE {
            self.0.values_mut().filter(|page| page.fresh < since).for_each(|page| page.lost = true);
        }
    }
}
