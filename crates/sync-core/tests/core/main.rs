//! Tests of the core as a whole, without its simulator: one program, so that it is linked once.

mod bad_input;
mod channel;
mod edits;
mod fleet;
mod local_changes;
mod malformed_input;
mod support;
mod visibility;
