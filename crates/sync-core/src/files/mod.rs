//! Files of a project: their paths, hashes and rows, in which order they are written, and which belong to a project.

pub(crate) mod content_hash;
pub(crate) mod digest;
pub(crate) mod operation;
pub(crate) mod path;
pub(crate) mod plan;
pub mod rules;
pub(crate) mod table;
