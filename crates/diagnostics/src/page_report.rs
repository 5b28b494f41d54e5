//! What the script in a page sends. It is text of the project's code: bounded, and believed in nothing but that a page says so.

use serde::Deserialize;

/// Names one load of one document; made by the page at random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(String);

#[cfg(test)]
impl PageId {
    pub(crate) fn for_test(id: impl ToString) -> PageId {
        PageId(id.to_string())
    }
}

/// What happened in one page since its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageReport {
    /// Which load of which document.
    pub id: PageId,
    /// Its path, without query.
    pub page: String,
    /// In the order in which they happened.
    pub events: Vec<PageEvent>,
    /// Events that the page did not send, because there were too many.
    pub omitted: u64,
}

/// One thing that happened in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEvent {
    /// The document was loaded (`load`).
    Loaded,
    /// It took an update without a load.
    Updated,
    /// The dev server's client in the page says that the update failed.
    UpdateFailed {
        /// What it says.
        message: String,
    },
    /// It was closed, or left for another page.
    Left,
    /// An uncaught error, an unhandled rejection, `console.error`, or something that could not be loaded.
    Error {
        /// `Runtime`, `Console` or `Resource`.
        kind: crate::Kind,
        /// The error's message.
        message: String,
        /// Its stack, as the browser wrote it.
        stack: Option<String>,
        /// The address of the script, or of what could not be loaded.
        url: Option<String>,
        /// Position in the script as it was served, beginning at 1.
        line: Option<u32>,
        /// Beginning at 1.
        column: Option<u32>,
    },
}

/// A body that is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a report of a page: {0}")]
pub struct PageReportError(String);

/// The JSON of a report, before it is bounded.
#[derive(Debug, Deserialize)]
struct Wire {}
