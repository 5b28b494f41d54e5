//! Finds, starts, probes and restarts the dev server.
