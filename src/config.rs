//! Flags and environment into one checked configuration.
