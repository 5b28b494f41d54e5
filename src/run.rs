//! The one select loop.
