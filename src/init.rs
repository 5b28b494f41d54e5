//! Signals, and the only place that waits for children.
