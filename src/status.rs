//! Health, readiness, metrics, status and logs over HTTP.
