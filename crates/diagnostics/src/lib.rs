//! What went wrong in a preview, and a verdict for each revision (docs/protocol.md, "Problems").
//!
//! Nothing here does I/O or reads a clock: the agent says what was observed and when.

mod finding;
mod page_report;

pub use finding::{Finding, Kind, Place};
pub use page_report::{PageEvent, PageId, PageReport, PageReportError};
