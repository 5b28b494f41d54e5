//! The entrypoint.
fn main() {}
