//! The read functions, asset downloads and session renewal.
