//! What the agent shows: logs, health, status, metrics and progress.

pub mod logs;
pub mod problems;
pub mod progress;
pub mod report;
pub mod status;
pub mod text;
