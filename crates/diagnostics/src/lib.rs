//! What went wrong in a preview, and a verdict for each revision (docs/protocol.md, "Problems").
//!
//! Nothing here does I/O or reads a clock: the agent says what was observed and when.

mod finding;
mod page_report;
mod project_root;
mod source_map;
mod stack;

pub use finding::{Finding, Kind, Place};
pub use page_report::{PageEvent, PageId, PageReport, PageReportError};
pub use project_root::ProjectRoot;
pub use source_map::{Located, SourceMaps};
