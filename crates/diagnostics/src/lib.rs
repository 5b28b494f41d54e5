//! What went wrong in a preview, and a verdict for each revision (docs/protocol.md, "Problems").
//!
//! Nothing here does I/O or reads a clock: the agent says what was observed and when.

// Much of what comes in here is text of the project's code, and a panic ends the agent.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used)
)]

mod diagnostics;
mod finding;
mod imports;
mod map_text;
mod module_graph;
mod page_report;
mod pages;
mod problem;
mod problems;
mod project_root;
mod source_map;
mod stack;
mod verdict;
mod vite_error;

pub use diagnostics::{Diagnostics, Input, Output, PageChange, TimerReason};
pub use finding::{Finding, Kind, Place};
pub use imports::{imports_of, loads_of_document};
pub use module_graph::{ModuleGraph, is_project_module, is_source, normalized};
pub use page_report::{PageEvent, PageId, PageReport, PageReportError};
pub use problem::{Moment, Problem, ProblemId};
pub use problems::{Change, MAX_PROBLEMS, Source};
pub use project_root::ProjectRoot;
pub use source_map::{Located, SourceMaps};
pub use verdict::{CHECK_PATIENCE, GATHER, Outcome, PAGE_PATIENCE, RENDERED_AFTER, Seen, Verdict};
pub use vite_error::{error_in_body, frame, position_of_name, vite_finding, with_source};
